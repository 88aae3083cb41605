"""Runs programs that a model wrote: fork servers, one fresh confined child per program.

`Executor` starts `workers` fork servers by exec, with a clean environment. They never import jax,
have the allowed modules loaded, and fork one child per program: own session, scratch folder,
`/dev/null` as input, no open file but its three streams, limits on CPU time, address space, files
and threads, and the layers of `sandbox/layers.py` that the host allows: another user, no
capabilities, Landlock (files), seccomp (system calls), namespaces. The server keeps the wall
deadline, kills what is left, and judges by the wait status alone. Nothing that a program writes is
evaluated or unpickled; its text can forge nothing but text.

What is NOT covered, on any host: flaws of the kernel, side channels, what `stat` tells of files in
sight, and use of all the CPU time and memory that a program is given. docs/executor.md says which
layer holds which threat, `acim doctor` which are in force here, and `executor.min_protection`
refuses to run with less. Where only limits are in force (macOS), use a virtual machine.
"""

import concurrent.futures
import dataclasses
import functools
import importlib.util
import logging
import math
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acim_jax.environment import capabilities, measurements, preload, results
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.pool import ExecutorFailure as ExecutorFailure
from acim_jax.environment.pool import Pool
from acim_jax.environment.results import Comparison as Comparison
from acim_jax.environment.sandbox import protection
from acim_jax.environment.sandbox.limits import Limits
from acim_jax.records import ExecutionResult, Status

log = logging.getLogger(__name__)

#: A longer program is refused before it runs.
MAX_CODE_CHARS = 1 << 20


class Executor:
    """Fork servers that run programs. Close it, or use it as a context manager.

    leave_out: layers of protection not to use, as if the host lacked them. `missing` says why a
    layer is not in force.

    The servers of programs start now, in the background, and the first program waits for one;
    those of comparisons start when the first comparison is asked for. Raises `ValueError` if a
    module of the config is not installed or the host offers less than `min_protection`, and
    `ExecutorFailure` if no server can be started.
    """

    def __init__(
        self, config: ExecutorConfig | None = None, *, leave_out: Sequence[protection.Layer] = ()
    ) -> None:
        self.config = config or ExecutorConfig()
        self._setup = _server_setup(self.config, leave_out)
        self.missing: Mapping[protection.Layer, str] = {}
        self.scratch = Path(tempfile.mkdtemp(prefix="acim-executor-"))
        self._ledger = measurements.Ledger()
        self._pools: list[Pool] = []
        self._closed = False
        self._opening = threading.Lock()
        self._finalizer = weakref.finalize(self, _stop_all, self._pools, self.scratch)
        self._programs = self._open_pool(self._setup)
        try:
            self.missing = self._programs.introductions()[0].missing
            self._check_protection()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self,
        code: str,
        timeout_s: float | None = None,
        *,
        output_chars: int | None = None,
        earlier: Sequence[str] = (),
    ) -> concurrent.futures.Future[ExecutionResult]:
        """Runs a program as soon as a server is free; the future holds what became of it.

        timeout_s: wall time of this program; output_chars: characters kept of what it prints (unit
        tests read whole results); both by default the config's. earlier: programs of the same
        episode that ended well: they run first, in the same module and within the same limits, and
        nothing is kept of what they print. Waits while `config.waiting` programs wait. The future
        raises `ExecutorFailure` when servers cannot be started or fail too often, and
        `CancelledError` after its `cancel`, which ends the program even if it runs.
        """
        timeout_s = self._valid_timeout(timeout_s)
        if len(code) + sum(map(len, earlier)) > MAX_CODE_CHARS:
            reason = f"a program may have {MAX_CODE_CHARS} characters"
            refused: concurrent.futures.Future[ExecutionResult] = concurrent.futures.Future()
            refused.set_result(ExecutionResult(code, "", reason, Status.BLOCKED, 0.0))
            return refused
        request = {
            "kind": "run",
            "code": code,
            "earlier": list(earlier),
            "timeout_s": timeout_s,
            "output_chars": self.config.output_chars if output_chars is None else output_chars,
        }
        convert = functools.partial(results.of_program, code, self.config.cpu_seconds)
        return self._programs.submit(request, convert)

    def run(self, codes: Sequence[str]) -> list[ExecutionResult]:
        """Runs programs side by side; results in the order of `codes`."""
        return [future.result() for future in [self.submit(code) for code in codes]]

    def compare(
        self, prediction: str, answer: str, timeout_s: float | None = None
    ) -> concurrent.futures.Future[Comparison]:
        """Compares two answers in LaTeX by symbolic computation, in a child that can be killed."""
        request = {
            "kind": "compare",
            "prediction": prediction,
            "answer": answer,
            "timeout_s": self._valid_timeout(timeout_s),
            "output_chars": self.config.output_chars,
        }
        convert = functools.partial(results.of_comparison, self.config.cpu_seconds)
        return self._comparisons.submit(request, convert)

    def server_pids(self) -> list[int]:
        """Process ids of the living fork servers."""
        return sorted(one.pid for pool in self._pools for one in pool.introductions())

    def capabilities(self) -> dict[str, Any]:
        """What protects this machine from the programs."""
        return capabilities.report(self.config.modules, self.config.workers, self.missing)

    def take_measurements(self) -> measurements.Measurements:
        """Latency, queue wait and failures of ours since the last call."""
        return self._ledger.take()

    def close(self) -> None:
        """Cancels what waits, kills what runs, and removes every process and scratch folder."""
        with self._opening:
            self._closed = True
        for pool in self._pools:
            pool.close()
        self._finalizer()

    @functools.cached_property
    def _comparisons(self) -> Pool:
        return self._open_pool({**self._setup, "modules": [], "grader": True})

    def _open_pool(self, setup: Mapping[str, Any]) -> Pool:
        with self._opening:
            if self._closed:
                raise ExecutorFailure("The executor is closed; open a new one.")
            pool = Pool(
                setup,
                self.scratch,
                workers=self.config.workers,
                waiting=self.config.waiting,
                max_infra=self.config.max_infra_rate * measurements.WINDOW,
                ledger=self._ledger,
            )
            self._pools.append(pool)
            return pool

    def _check_protection(self) -> None:
        reached = protection.level({name: name not in self.missing for name in protection.LAYERS})
        wanted = self.config.min_protection
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.missing.items())
        if protection.LEVELS.index(reached) < protection.LEVELS.index(wanted):
            raise ValueError(
                f"executor.min_protection is {wanted!r}, but this host offers {reached!r} "
                f"({reasons}); run on a host that offers more, or lower it."
            )
        if protection.LEVELS.index(reached) < protection.LEVELS.index("confined"):
            log.warning(
                "programs run with protection level %r only (%s): they can reach this user's "
                "files%s. Use a container or a virtual machine if the policy cannot be trusted.",
                reached,
                reasons,
                "" if reached == "filtered" else ", processes and network",
            )

    def _valid_timeout(self, timeout_s: float | None) -> float:
        timeout_s = self.config.timeout_s if timeout_s is None else timeout_s
        if not (math.isfinite(timeout_s) and timeout_s > 0):
            raise ValueError(f"A program's timeout must be a positive number, got {timeout_s}.")
        return timeout_s


def probe(config: ExecutorConfig) -> dict[str, Any]:
    """`Executor.capabilities` of an executor with this config, without loading its modules.

    Raises `ValueError` if the host offers less than `min_protection`, and `ExecutorFailure`.
    """
    bare = dataclasses.replace(config, workers=1, modules=())
    with Executor(bare) as running:
        return capabilities.report(config.modules, config.workers, running.missing)


def _server_setup(config: ExecutorConfig, leave_out: Sequence[protection.Layer]) -> dict[str, Any]:
    folders = [_folder(name) for name in (*config.modules, *preload.COMPARISON_MODULES)]
    limits = Limits(
        cpu_seconds=config.cpu_seconds,
        memory_bytes=config.memory_mb << 20,
        file_bytes=config.file_mb << 20,
        disk_bytes=config.disk_mb << 20,
    )
    return {
        "modules": list(config.modules),
        "folders": list(dict.fromkeys(folders)),
        "limits": dataclasses.asdict(limits),
        "leave_out": list(leave_out),
        "grader": False,
    }


def _folder(module: str) -> str:
    """The folder on the import path that holds a module, found without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise ValueError(
            f"executor.modules names {module!r}, which is not installed for {sys.executable}; "
            "install it or take it off the list."
        )
    if spec.submodule_search_locations:
        return str(Path(next(iter(spec.submodule_search_locations))).parent)
    return str(Path(spec.origin or ".").parent)


def _stop_all(pools: list[Pool], root: Path) -> None:
    for pool in pools:
        pool.stop_servers()
    pools.clear()
    shutil.rmtree(root, ignore_errors=True)
