"""Resource limits of one child. They hold on every POSIX system, that of memory on Linux only."""

import contextlib
import dataclasses
import math
import os
import resource
import signal

from acim_jax.environment.sandbox import kernel

#: Threads (and their kernel memory) that a program may have where only its own are counted.
_TASKS = 64


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one child may use. disk_bytes, files: of all that lies in the scratch folder.

    memory_bytes: growth of the address space over `base_bytes`, the fork server's own (Linux).
    tasks: threads of the user, None where others of the same user would be counted with them.
    """

    cpu_seconds: float
    memory_bytes: int
    file_bytes: int
    disk_bytes: int
    files: int = 4096
    open_files: int = 64
    base_bytes: int = 0
    tasks: int | None = None


def impose(limits: Limits) -> None:
    """Puts the limits on this process. Raises `OSError` or `ValueError`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits.open_files, limits.open_files))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    if kernel.IS_LINUX:
        space = limits.base_bytes + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    if limits.tasks is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (limits.tasks, limits.tasks))
    seconds = math.ceil(limits.cpu_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    # Precise below a second; a program that disarms it meets RLIMIT_CPU, then the wall clock.
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)


def task_limit(*, counted_alone: bool) -> int | None:
    """RLIMIT_NPROC for a child, which the kernel holds against all threads of its user.

    counted_alone: only the server's children are counted (an unused user, a user namespace). Root
    is exempt from this limit: None. Otherwise the threads of other processes count, too, so it is
    twice those that run now and some more.
    """
    if counted_alone:
        return _TASKS
    if os.geteuid() == 0 or not os.path.isdir("/proc/self/task"):
        return None
    return 2 * _running_tasks(os.getuid()) + 16 * _TASKS


def _running_tasks(uid: int) -> int:
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                folder = f"/proc/{name}"
                if os.stat(folder).st_uid == uid:
                    total += len(os.listdir(f"{folder}/task"))
    return total
