"""A fork server: started by exec, confined, preloaded; forks one child per program.

It never runs a program itself and never imports jax. Standard library only; what programs may
import is loaded by `preload.py`, one child's life is in `supervisor.py`.
"""

import contextlib
import dataclasses
import os
import traceback
from typing import Any

from acim_jax.environment import preload, protocol, scratch
from acim_jax.environment.sandbox import limits, memory, protection
from acim_jax.environment.supervisor import Supervisor

#: The servers, and so their programs, give way to the threads that feed the model.
_NICE = 5


def main() -> None:
    """Serves requests from standard input until it closes.

    First says what protects the host, then that it is ready, then answers each request.
    """
    requests, replies = _take_control_fds()
    setup = protocol.receive(requests)
    if setup is None:
        return
    _give_way()
    with contextlib.suppress(BrokenPipeError):  # the executor is gone
        _prepare_and_serve(setup, requests, replies)
    scratch.remove(setup["scratch"])


def _give_way() -> None:
    os.nice(_NICE)
    # Where the kernel shares the processor among sessions, niceness counts within one only.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:
        file.write(str(_NICE))


def _prepare_and_serve(setup: dict[str, Any], requests: int, replies: int) -> None:
    try:
        confinement = protection.enter(
            limits.Limits(**setup["limits"]),
            setup["scratch"],
            setup["folders"],
            setup["leave_out"],
        )
        protocol.send(replies, {"pid": confinement.server, "missing": dict(confinement.missing)})
        preload.load(setup["modules"], setup["folders"], grader=setup["grader"])
    except Exception:
        protocol.send(replies, {"error": traceback.format_exc()})
        return
    if confinement.memory is not None:
        memory.use_huge_pages(confinement.memory)
        used = memory.address_space(confinement.memory)
        grown = dataclasses.replace(confinement.limits, base_bytes=used)
        confinement = dataclasses.replace(confinement, limits=grown)
    _serve_all(Supervisor(requests, confinement, setup["modules"]), requests, replies)


def _serve_all(supervisor: Supervisor, requests: int, replies: int) -> None:
    reply: dict[str, Any] = {"ready": True}
    while True:
        protocol.send(replies, reply)
        request = protocol.receive(requests)
        while request is not None and request["kind"] == "cancel":  # its program has just ended
            request = protocol.receive(requests)
        if request is None:
            return
        try:
            reply = supervisor.serve(request, replies)
        except OSError as error:  # no process, pipe or folder to be had: not the program's
            reply = {"infra": f"{type(error).__name__}: {error}"}


def _take_control_fds() -> tuple[int, int]:
    """Moves the two pipes off 0 and 1, where an import that prints would write into them."""
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return requests, replies
