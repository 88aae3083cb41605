"""Files that are either the old or the new one, never half of it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from acim_jax.files import failures

#: Of files that a crash left half-written beside their target.
SUFFIX = ".partial"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path`, flushed to disk, when the block ends well.

    An `OSError` names `path`.
    """
    with failures.naming(path), _partial(path) as file:
        yield file


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[BinaryIO]:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=SUFFIX)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; a result is as readable as any other file.
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by UTF-8 `text`; a crash leaves all of the old or all of the new text."""
    with replacing(path) as file:
        file.write(text.encode())
