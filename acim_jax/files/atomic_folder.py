"""Folders that are either the old or the new one, never half of it. Standard library and a lock."""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from acim_jax.files import failures

#: Ends the hidden name of a folder that is being written, before a random part.
MARK = ".partial-"


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new empty folder that takes the place of `folder` when the block ends without an error.

    It is made beside `folder` as `.NAME.partial-…/model`, flushed to disk and renamed. The next
    call for the same folder removes what a killed process left there. Between the two renames of a
    replacement there is no `folder` for a moment, never half of one. An `OSError` names `folder`
    as it was given.
    """
    with failures.naming(folder), _replacing(Path(os.path.abspath(folder))) as made:
        yield made


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(folder)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}{MARK}", dir=folder.parent))
    made, replaced = scratch / "model", scratch / "replaced"
    try:
        with _lock(scratch):
            made.mkdir()
            yield made
            _flush(made)
            try:
                if folder.exists():
                    os.replace(folder, replaced)
                os.replace(made, folder)
            except BaseException:
                if replaced.exists() and not folder.exists():
                    os.replace(replaced, folder)
                raise
            _flush_entry(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _lock(scratch: Path) -> filelock.FileLock:
    """Held while a folder is written; the system releases it when the process is killed."""
    return filelock.FileLock(scratch / "lock", timeout=0)


def _remove_left_overs(folder: Path) -> None:
    for path in folder.parent.glob(f".{glob.escape(folder.name)}{MARK}*"):
        with contextlib.suppress(filelock.Timeout, OSError), _lock(path):
            shutil.rmtree(path, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Waits until a folder's files are on disk, and their names, which may get there first."""
    for path in folder.rglob("*"):
        _flush_entry(path)
    _flush_entry(folder)


def _flush_entry(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
