"""The error for wrong input of the user. Commands answer it with exit code 2."""

import contextlib
from collections.abc import Iterator


class BadInput(ValueError):
    """A bad option, config, file or checkpoint; the message names file, field and line."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Wraps reading and checking of input: turns `ValueError` and `OSError` (a missing file, a
    folder in place of a file) into `BadInput`.

    Work stays outside: a `ValueError` from there is a defect of ours and shows a traceback.
    """
    try:
        yield
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(_describe(error)) from error
    except ValueError as error:
        raise BadInput(str(error)) from error


def _describe(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror.lower()}"
