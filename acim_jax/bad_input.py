"""The error for wrong input of the user. Commands answer it with exit code 2."""

import contextlib
import errno
from collections.abc import Iterator

#: The disk has no room for what is written: it is full, or its owner's share is.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_THE_DISK = NO_ROOM | {errno.EFBIG, errno.EIO}


class BadInput(ValueError):
    """A bad option, config, file or checkpoint; the message names file, field and line."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Wraps reading and checking of input: turns `ValueError` and `OSError` (a missing file, a
    folder in place of a file) into `BadInput`.

    Work stays outside: a `ValueError` from there is a defect of ours and shows a traceback. A disk
    that is full or broken (`is_of_the_disk`) is no fault of the input anywhere.
    """
    try:
        yield
    except BadInput:
        raise
    except OSError as error:
        if is_of_the_disk(error):
            raise
        raise BadInput(describe(error)) from error
    except ValueError as error:
        raise BadInput(str(error)) from error


def is_of_the_disk(error: OSError) -> bool:
    """Whether the disk failed: it is full, over a quota or a limit, or broken."""
    return error.errno in _OF_THE_DISK


def describe(error: OSError) -> str:
    """The file and what is wrong with it, as part of a line."""
    if error.strerror is None:
        return str(error)
    what = error.strerror.lower()
    return what if error.filename is None else f"{error.filename}: {what}"
