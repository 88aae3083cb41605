"""Whether files can be written at a place, found out before there is anything to write.

It is tried out, in a folder that is removed again: permissions say nothing of read-only and of
virtual file systems. Refusals are ValueErrors that begin with `what`, the option that named the
place; a full disk is an `OSError` that names it.
"""

import errno
import os
import tempfile
from pathlib import Path

from acim_jax.files import atomic

_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_folder(path: Path, what: str) -> None:
    """Refuses a `path` that is no folder to write in, and cannot be made one."""
    if os.path.lexists(path) and not path.is_dir():
        raise ValueError(f"{what} {path} is a file; name a folder.")
    if trouble := _trouble(path):
        raise ValueError(f"{what} {path}: {trouble}; name another folder.")


def check_replaceable(path: Path, what: str) -> None:
    """`check_folder`, for a folder that is written beside `path` and then takes its place."""
    check_folder(path, what)
    if path.is_dir() and os.path.ismount(path):
        raise ValueError(f"{what} {path} is a mount point; name a folder in it.")
    if trouble := _trouble(path.absolute().parent):
        raise ValueError(f"{what} {path} cannot be replaced: {trouble}; name another folder.")


def check_file(path: Path, what: str) -> None:
    """Refuses a `path` where no file can be made, with the folders above it, or replaced."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{what} {path} is no file that could be replaced; name another.")
    if trouble := _trouble(path.parent):
        raise ValueError(f"{what} {path}: {trouble}; name another file.")


def _trouble(folder: Path) -> str | None:
    """Why nothing can be written in `folder`, or it cannot be made."""
    stands = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not stands.is_dir():
        return f"{stands} is a file"
    try:
        # Named as unfinished files are, which nobody takes for content.
        with tempfile.TemporaryDirectory(prefix=".", suffix=atomic.SUFFIX, dir=stands) as trial:
            (Path(trial) / folder.relative_to(stands)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise OSError(error.errno, reason, str(folder)) from error
        return f"nothing can be written in {stands} ({reason.lower()})"
    return None
