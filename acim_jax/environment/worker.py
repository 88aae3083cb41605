"""A fork server: started by exec, confined, preloaded; forks one child per request.

It never runs a program itself and never imports jax: what it imports of this package uses the
standard library only. `preload.py` loads the modules of its job, `supervisor.py` watches one child.
"""

import contextlib
import dataclasses
import os
import traceback
from typing import Any

from acim_jax.environment import preload, protocol, scratch
from acim_jax.environment.protocol import Job
from acim_jax.environment.sandbox import confinement, limits, memory
from acim_jax.environment.supervisor import Supervisor

#: Servers and their children give way to the threads that feed the model.
_NICE = 5


def main() -> None:
    """Says which layers of protection hold, then that it is ready, then answers requests."""
    # The two pipes move off 0 and 1, where an import that prints would write into them.
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    setup = protocol.receive(requests)
    if setup is None:
        return
    os.nice(_NICE)
    # Where the kernel shares the processor among sessions, niceness counts within one only.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:
        file.write(str(_NICE))
    with contextlib.suppress(BrokenPipeError):  # the executor is gone
        _prepare_and_serve(setup, requests, replies)
    scratch.remove(setup["scratch"])


def _prepare_and_serve(setup: dict[str, Any], requests: int, replies: int) -> None:
    try:
        most = limits.Limits(**setup["limits"])
        entered = confinement.enter(most, setup["scratch"], setup["folders"], setup["leave_out"])
        protocol.send(replies, {"pid": entered.server, "missing": dict(entered.missing)})
        function, hidden = preload.load(Job(**setup["job"]), setup["folders"])
    except preload.ToolError as error:
        protocol.send(replies, {"tool": str(error)})
        return
    except Exception:
        protocol.send(replies, {"error": traceback.format_exc()})
        return
    if entered.memory is not None:
        memory.use_huge_pages(entered.memory)
        used = memory.address_space(entered.memory)
        grown = dataclasses.replace(entered.limits, base_bytes=used)
        entered = dataclasses.replace(entered, limits=grown)
    supervisor = Supervisor(requests, entered, function, hidden)
    reply: dict[str, Any] = {"ready": True}
    while True:
        protocol.send(replies, reply)
        request = protocol.receive(requests)
        while request is not None and "cancel" in request:  # its child has just ended
            request = protocol.receive(requests)
        if request is None:
            return
        try:
            reply = supervisor.serve(request, replies)
        except OSError as error:  # no process, pipe or folder to be had: not the program's
            reply = {"infra": f"{type(error).__name__}: {error}"}
