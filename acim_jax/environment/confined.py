"""A function, whatever it does, that runs in confined children of fork servers."""

import concurrent.futures
import dataclasses
import importlib.util
import logging
import math
import shutil
import signal
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from acim_jax.environment import child, measurements
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.protocol import Job
from acim_jax.environment.sandbox import protection
from acim_jax.environment.sandbox.limits import Limits
from acim_jax.environment.server_pool import ServerPool
from acim_jax.records import Status

log = logging.getLogger(__name__)

T = TypeVar("T")
Opened = TypeVar("Opened", bound="ConfinedFunction")


class Ending(NamedTuple):
    """How a child ended. exit_code: of the job's function; negative for a signal, None for a
    failure of ours."""

    status: Status
    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool
    wall_s: float


class ConfinedFunction:
    """The function of a job on `config.workers` fork servers. Close it, or use it in a `with`.

    leave_out: layers of protection not to use, as if the host lacked them. `missing` gives the
    reason for each layer that is not in force. The servers start now, in the background. Raises
    `ValueError` if a module of the job is not installed or the host offers less than
    `min_protection`, and `ExecutorFailure` if no server can be started.
    """

    def __init__(
        self, job: Job, config: ExecutorConfig, *, leave_out: Sequence[protection.Layer] = ()
    ) -> None:
        self.config = config
        setup = _server_setup(job, config, leave_out)
        self.scratch = Path(tempfile.mkdtemp(prefix="acim-executor-"))
        self._pool = ServerPool(setup, self.scratch, config)
        self._finalizer = weakref.finalize(self, _remove, self._pool, self.scratch)
        try:
            self.missing: Mapping[protection.Layer, str] = self._pool.missing()
            _check_protection(self.missing, config.min_protection)
        except BaseException:
            self.close()
            raise

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self,
        *arguments: object,
        convert: Callable[[Ending], T],
        timeout_s: float | None = None,
        output_chars: int | None = None,
    ) -> concurrent.futures.Future[T]:
        """Calls the function as soon as a server is free. The future holds `convert` of its end.

        timeout_s: wall time. output_chars: characters kept of what is printed. Both are the
        config's by default. Blocks while `config.waiting` calls wait. The future raises
        `ExecutorFailure` when servers cannot be started or fail too often, and `CancelledError`
        after its `cancel`, which ends the child even if it runs.
        """
        timeout_s = self.config.timeout_s if timeout_s is None else timeout_s
        if not (math.isfinite(timeout_s) and timeout_s > 0):
            raise ValueError(f"A program's timeout must be a positive number, got {timeout_s}.")
        output_chars = self.config.output_chars if output_chars is None else output_chars
        request = {"arguments": arguments, "timeout_s": timeout_s, "output_chars": output_chars}
        cpu_seconds = self.config.cpu_seconds
        return self._pool.submit(request, lambda reply: convert(_ending(cpu_seconds, reply)))

    def take_measurements(self) -> measurements.Measurements:
        """Latency, wait in the queue and failures of ours since the last call."""
        return self._pool.ledger.take()

    def close(self) -> None:
        """Cancels what waits, kills what runs, and removes every process and scratch folder."""
        self._pool.close()
        self._finalizer()


def _remove(pool: ServerPool, scratch: Path) -> None:
    pool.stop_servers()
    shutil.rmtree(scratch, ignore_errors=True)


def _ending(cpu_seconds: float, reply: Mapping[str, Any]) -> Ending:
    """What a server's reply says of a child under a limit of `cpu_seconds`: from its wait status
    and the server's clock alone."""
    if "infra" in reply:
        return Ending(Status.INFRA, None, "", reply["infra"], False, 0.0)
    stderr, code = reply["stderr"], reply["exit"]
    if reply["reason"] == "disk":
        stderr += "killed: its files took too much room, or were too many\n"
    spent = code == -signal.SIGKILL and reply["cpu_s"] >= cpu_seconds  # RLIMIT_CPU's last word
    if reply["reason"] == "timeout" or -code in (signal.SIGPROF, signal.SIGXCPU) or spent:
        status = Status.TIMEOUT
    elif code < 0:
        status = Status.BLOCKED if code == -signal.SIGSYS else Status.KILLED
    else:
        status = {0: Status.OK, child.MEMORY_EXIT: Status.MEMORY}.get(code, Status.ERROR)
    return Ending(status, code, reply["stdout"], stderr, reply["truncated"], reply["wall_s"])


def _check_protection(missing: Mapping[protection.Layer, str], wanted: protection.Level) -> None:
    reached = protection.level({name: name not in missing for name in protection.LAYERS})
    rank = protection.LEVELS.index
    reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
    if rank(reached) < rank(wanted):
        raise ValueError(
            f"executor.min_protection is {wanted!r}, but this host offers {reached!r} "
            f"({reasons}); run on a host that offers more, or lower it."
        )
    if rank(reached) < rank("confined"):
        log.warning(
            "programs run with protection level %r only (%s): they can reach this user's "
            "files%s. Use a container or a virtual machine if the policy cannot be trusted.",
            reached,
            reasons,
            "" if reached == "filtered" else ", processes and network",
        )


def _server_setup(
    job: Job, config: ExecutorConfig, leave_out: Sequence[protection.Layer]
) -> dict[str, Any]:
    """What a fork server is told first, as JSON."""
    limits = Limits(
        cpu_seconds=config.cpu_seconds,
        memory_bytes=config.memory_mb << 20,
        file_bytes=config.file_mb << 20,
        disk_bytes=config.disk_mb << 20,
    )
    return {
        "job": dataclasses.asdict(job),
        "folders": list(dict.fromkeys(map(_folder, job.modules))),
        "limits": dataclasses.asdict(limits),
        "leave_out": list(leave_out),
    }


def _folder(module: str) -> str:
    """The folder on the import path that holds a module, found without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise ValueError(
            f"executor.modules names {module!r}, which is not installed for {sys.executable}; "
            "install it or take it off the list."
        )
    return str(Path(next(iter(spec.submodule_search_locations or ()), spec.origin or ".")).parent)
