"""Trying in a child what could not be taken back in this process, such as changing users."""

import os
from collections.abc import Callable

#: Beginnings of ranges that no distribution gives to users, services or containers; the second for
#: containers that map few ids. A server adds its process id, modulo the range's length.
_USERS = ((1_879_048_192, 1 << 22), (60_578, 600))


def failure(action: Callable[[], str | None]) -> str:
    """What a forked child that performed `action` gave or failed with; "" if nothing is wrong."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code, text = 1, ""
        try:
            text = action() or ""
            code = 0
        except Exception as error:
            code, text = 0, f"{type(error).__name__}: {error}"
        finally:
            os.write(write, text.encode("utf-8", "replace")[:4096])
            os._exit(code)
    os.close(write)
    with open(read, "rb") as file:
        text = file.read().decode("utf-8", "replace")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return text or (f"the trial ended with code {code}" if code else "")


def unused_user(pid: int) -> int | None:
    """A user id that nobody has and that this process, root's, can change to; None without one.

    pid: of the fork server, so that the programs of two servers are different users.
    """
    for user in [first + pid % length for first, length in _USERS]:
        if os.geteuid() == 0 and not failure(lambda user=user: become(user)):
            return user
    return None


def become(user: int) -> None:
    """Changes this process to `user` and the group of the same number. Raises `OSError`."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
