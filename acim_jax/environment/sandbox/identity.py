"""Another user for children when the executor runs as root."""

import os

from acim_jax.environment.sandbox import trial

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
        user = first + pid % length
        if not trial.failure(lambda user=user: become(user)):
            return user
    return None


def become(user: int) -> None:
    """Changes this process to `user` and the group of the same number. Raises `OSError`."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
