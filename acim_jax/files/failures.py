"""Errors of writing that name the file: the system does not say of which one a disk is full."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Lets an `OSError` that names no file, or an unfinished `.NAME.…` beside `path`, name `path`.

    Nobody knows of the unfinished one, and it is gone when the message is read.
    """
    try:
        yield
    except OSError as error:
        unfinished = os.path.abspath(path.parent / f".{path.name}.")
        named = error.filename is not None and not str(error.filename).startswith(unfinished)
        if named or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
