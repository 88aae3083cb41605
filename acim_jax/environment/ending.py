"""How a child ended, from its wait status and the server's clock alone."""

import signal
from collections.abc import Mapping
from typing import Any, NamedTuple

from acim_jax.environment import child
from acim_jax.records import Status

_CPU_SIGNALS = (signal.SIGPROF, signal.SIGXCPU)


class Ending(NamedTuple):
    """exit_code: of the job's function; negative for a signal, None for a failure of ours."""

    status: Status
    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool
    wall_s: float


def of_reply(cpu_seconds: float, reply: Mapping[str, Any]) -> Ending:
    """What a server's reply says of a child under a limit of `cpu_seconds`."""
    if "infra" in reply:
        return Ending(Status.INFRA, None, "", reply["infra"], False, 0.0)
    stderr = reply["stderr"]
    if reply["reason"] == "disk":
        stderr += "killed: its files took too much room, or were too many\n"
    status, code = _status(cpu_seconds, reply), reply["exit"]
    return Ending(status, code, reply["stdout"], stderr, reply["truncated"], reply["wall_s"])


def _status(cpu_seconds: float, reply: Mapping[str, Any]) -> Status:
    code = reply["exit"]
    spent = code == -signal.SIGKILL and reply["cpu_s"] >= cpu_seconds  # RLIMIT_CPU's last word
    if reply["reason"] == "timeout" or -code in _CPU_SIGNALS or spent:
        return Status.TIMEOUT
    if code < 0:
        return Status.BLOCKED if code == -signal.SIGSYS else Status.KILLED
    return {0: Status.OK, child.MEMORY_EXIT: Status.MEMORY}.get(code, Status.ERROR)
