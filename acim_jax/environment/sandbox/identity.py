"""Another user for programs when the executor runs as root, and no capabilities for anyone."""

import os

from acim_jax.environment.sandbox import kernel

#: Beginnings of ranges that no distribution gives to users, services or containers; the second for
#: containers that map few ids. A server adds its process id, modulo the range's length.
_RANGES = ((1_879_048_192, 1 << 22), (60_578, 600))


def unused_user(pid: int) -> int | None:
    """A user id that nobody has and that this process can change to; None without such a one.

    pid: of the fork server, so that the programs of two servers are different users.
    """
    if os.geteuid() != 0:
        return None
    for first, length in _RANGES:
        if _can_become(first + pid % length):
            return first + pid % length
    return None


def become(user: int) -> None:
    """Changes this process to `user` and the group of the same number. Raises `OSError`."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def renounce() -> None:
    """Drops all capabilities: a user namespace gives them to whoever made it. Raises `OSError`."""
    kernel.drop_capabilities()


def _can_become(user: int) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            become(user)
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
