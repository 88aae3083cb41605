"""What a fork server's reply means: the result of a program, or of a comparison."""

import signal
from collections.abc import Mapping
from typing import Any, NamedTuple

from acim_jax.environment import child
from acim_jax.records import ExecutionResult, Status

_CPU_SIGNALS = (signal.SIGPROF, signal.SIGXCPU)


class Comparison(NamedTuple):
    """equal is False whenever status is not OK."""

    equal: bool
    status: Status
    wall_s: float


def of_program(code: str, cpu_seconds: float, reply: Mapping[str, Any]) -> ExecutionResult:
    """What became of the program `code` under a limit of `cpu_seconds`."""
    if "infra" in reply:
        return ExecutionResult(code, "", reply["infra"], Status.INFRA, 0.0)
    stderr = reply["stderr"]
    if reply["reason"] == "disk":
        stderr += "killed: its files took too much room, or were too many\n"
    return ExecutionResult(
        code=code,
        stdout=reply["stdout"],
        stderr=stderr,
        status=_status(reply, cpu_seconds),
        wall_s=reply["wall_s"],
        truncated=reply["truncated"],
    )


def of_comparison(cpu_seconds: float, reply: Mapping[str, Any]) -> Comparison:
    """The verdict of a comparison under a limit of `cpu_seconds`."""
    if "infra" in reply:
        return Comparison(False, Status.INFRA, 0.0)
    if reply["exit"] in (child.EQUAL_EXIT, child.DIFFERENT_EXIT):
        return Comparison(reply["exit"] == child.EQUAL_EXIT, Status.OK, reply["wall_s"])
    return Comparison(False, _status(reply, cpu_seconds), reply["wall_s"])


def _status(reply: Mapping[str, Any], cpu_seconds: float) -> Status:
    """How a program ended, from its wait status and the server's clock alone."""
    code = reply["exit"]
    spent = code == -signal.SIGKILL and reply["cpu_s"] >= cpu_seconds  # RLIMIT_CPU's last word
    if reply["reason"] == "timeout" or -code in _CPU_SIGNALS or spent:
        return Status.TIMEOUT
    if code == -signal.SIGSYS:
        return Status.BLOCKED
    if code < 0:
        return Status.KILLED
    match code:
        case 0:
            return Status.OK
        case child.MEMORY_EXIT:
            return Status.MEMORY
        case _:
            return Status.ERROR
