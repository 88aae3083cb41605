"""The folder that a program may write to: emptied after each program, whatever it left there."""

import contextlib
import os
import shutil
import stat


def empty(folder: str) -> None:
    """Removes everything in `folder`, which itself stays, with its usual mode.

    Links are not followed. Folders in folders are moved up before they are removed, so that no
    depth of nesting meets the limits on paths and recursion. Raises `OSError`.
    """
    os.chmod(folder, stat.S_IRWXU)
    prefix = os.urandom(8).hex()  # a name that the program could not know and take
    moved = 0
    while names := os.listdir(folder):
        for name in names:
            path = os.path.join(folder, name)
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                continue
            os.chmod(path, stat.S_IRWXU)
            for inner in os.listdir(path):
                below = os.path.join(path, inner)
                if stat.S_ISDIR(os.lstat(below).st_mode):
                    os.chmod(below, stat.S_IRWXU)  # a folder that moves must be writable
                    moved += 1
                    os.rename(below, os.path.join(folder, f"{prefix}-{moved}"))
                else:
                    os.unlink(below)
            os.rmdir(path)


def size(folder: str, at_most_files: int) -> tuple[int, int]:
    """(bytes, files and folders) below `folder`; counting ends soon after `at_most_files`.

    Bytes are those on the disk: a file with holes takes less than its length.
    """
    total, count, waiting = 0, 0, [folder]
    while waiting and count <= at_most_files:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    found = entry.stat(follow_symlinks=False)
                    total += found.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue  # the program that is being watched has removed or closed it
    return total, count


def remove(folder: str) -> None:
    """Removes a server's folder, and the executor's, which holds it, if it was the last."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(folder))
