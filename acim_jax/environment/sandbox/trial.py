"""Trying in a child what could not be taken back in this process."""

import os
from collections.abc import Callable


def failure(action: Callable[[], str | None]) -> str:
    """What went wrong when a forked child performed `action`; "" if nothing did.

    action: returns a reason of its own for a failure, or nothing.
    """
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
