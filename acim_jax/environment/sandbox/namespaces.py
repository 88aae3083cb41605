"""A fork server's own view of the machine: processes, network, IPC objects, and files.

A server enters it once, and its children inherit it. An ordinary user needs a user namespace for
it, root does not. The file system shows the folders that children read, some devices, and an empty
scratch folder of bounded size in memory: no /proc, no /etc, no home, no other run.
"""

import os
import re
import signal
from collections.abc import Callable, Sequence

from acim_jax.environment.sandbox import kernel, trial

_NEWNS, _NEWIPC, _NEWUSER = 0x0002_0000, 0x0800_0000, 0x1000_0000
_NEWPID, _NEWNET = 0x2000_0000, 0x4000_0000
_FLAGS = _NEWPID | _NEWNET | _NEWIPC
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 0x1000, 0x4000, 0x4_0000


def leave_host() -> bool:
    """Leaves the host's namespaces; the next forked child is the first process of its own.

    Returns whether that took a user namespace, in which only the children's threads are counted.
    Raises `OSError`, with nothing changed, if the host does not allow it.
    """
    with_user = bool(trial.failure(lambda: _unshare(_FLAGS)))
    if with_user and trial.failure(lambda: _unshare(_FLAGS | _NEWUSER)):
        raise PermissionError("the host does not allow new namespaces")
    _unshare(_FLAGS | (_NEWUSER if with_user else 0))
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return with_user and release is not None and tuple(map(int, release.groups())) >= (5, 14)


def _unshare(flags: int) -> None:
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(flags)
    if flags & _NEWUSER:
        maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "wb", buffering=0) as file:
                file.write(text.encode("ascii"))


def become_first_process(at_end: Callable[[], None]) -> None:
    """Forks the first process of the new namespace and returns in it.

    The calling process waits for it, calls `at_end` and ends; if it is killed, so is the new one.
    """
    pid = os.fork()
    if pid == 0:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os.closerange(3, 4096)  # the executor sees the end of the server by its pipe
    status = os.waitpid(pid, 0)[1]
    at_end()
    os._exit(1 if status else 0)


def show_only(
    read: Sequence[str], devices: Sequence[str], scratch: str, disk_bytes: int, files: int
) -> None:
    """Makes a root that holds `read`, read-only, `devices`, and `scratch`, an empty folder.

    scratch: an existing folder of the host; its path stays, its content is in memory, at most
    `disk_bytes` and `files` inodes. Raises `OSError`; the view is then what it was.
    """
    kernel.unshare(_NEWNS)
    kernel.mount("", "/", "", _MS_REC | _MS_PRIVATE)
    base = scratch  # the new root is built on top of it; nothing else of the host is covered
    kernel.mount("tmpfs", base, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,nr_inodes=4096,mode=0755")
    try:
        _fill(base, read, devices)
        os.makedirs(base + scratch)
        size = f"size={disk_bytes},nr_inodes={files},mode=0700"
        kernel.mount("tmpfs", base + scratch, "tmpfs", _MS_NOSUID | _MS_NODEV, size)
        os.chdir(base)
        kernel.pivot_root_here()
    except OSError:
        kernel.detach(base)
        raise
    kernel.set_mount_read_only("/", recursive=False)
    os.chdir("/")


def _fill(base: str, read: Sequence[str], devices: Sequence[str]) -> None:
    shown: list[str] = []
    for path in sorted(filter(os.path.isdir, read), key=len):
        _mirror(path, base, shown, bind=not _within(os.path.realpath(path), shown))
    for device in devices:
        os.makedirs(base + os.path.dirname(device), exist_ok=True)
        open(base + device, "xb").close()
        kernel.mount(device, base + device, "", _MS_BIND)


def _mirror(path: str, base: str, shown: list[str], *, bind: bool) -> None:
    """Makes `path` mean under `base` what it means here: copies links, binds the real folder."""
    current = "/"
    parts = [part for part in path.split("/") if part]
    for index, part in enumerate(parts):
        current = os.path.join(current, part)
        if _within(current, shown):
            return
        if os.path.islink(current):
            if not os.path.lexists(base + current):
                os.makedirs(base + os.path.dirname(current), exist_ok=True)
                os.symlink(os.readlink(current), base + current)
            target = os.path.join(os.path.dirname(current), os.readlink(current))
            rest = os.path.join(target, *parts[index + 1 :])
            _mirror(os.path.normpath(rest), base, shown, bind=bind)
            return
    if bind:
        os.makedirs(base + path, exist_ok=True)
        kernel.mount(path, base + path, "", _MS_BIND | _MS_REC)
        kernel.set_mount_read_only(base + path, recursive=True)
        shown.append(path)


def _within(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
