"""Runs programs that a model wrote: fork servers, one fresh confined child per program.

`Executor` starts `workers` fork servers by exec, with a clean environment. They never import jax,
have the allowed modules loaded, and fork one child per program. A child has a process group and a
scratch folder of its own, `/dev/null` as input, no open file but its three streams, limits on CPU
time, address space, files and threads, and the layers of protection that the host allows
(`sandbox/protection.py`). The server keeps the wall deadline, kills what is left, and judges by the
wait status alone. Nothing that a program writes is evaluated or unpickled; the only thing it can
forge is its own output.

NOT covered, on any host: flaws of the kernel, side channels, what `stat` tells of visible files,
and use of all the CPU time and memory that a program is given. docs/executor.md has the threats
that each layer holds, `acim doctor` prints which layers are in force here, and
`executor.min_protection` refuses to run with less. Where only limits are in force (macOS), use a
virtual machine.
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from acim_jax.environment import capabilities
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.confined import ConfinedFunction
from acim_jax.environment.ending import Ending
from acim_jax.environment.job import Job
from acim_jax.environment.sandbox import protection
from acim_jax.records import ExecutionResult, Status

#: A longer program is refused before it runs.
MAX_CODE_CHARS = 1 << 20


class Executor(ConfinedFunction):
    """Fork servers that run programs; `ConfinedFunction` says what it raises when it is opened."""

    def __init__(
        self, config: ExecutorConfig | None = None, *, leave_out: Sequence[protection.Layer] = ()
    ) -> None:
        config = config or ExecutorConfig()
        job = Job("acim_jax.environment.program:run", config.modules)
        super().__init__(job, config, leave_out=leave_out)

    def submit(
        self,
        code: str,
        timeout_s: float | None = None,
        *,
        output_chars: int | None = None,
        earlier: Sequence[str] = (),
    ) -> concurrent.futures.Future[ExecutionResult]:
        """Runs a program; timeouts, output, blocking and errors are those of `call`.

        earlier: programs of the same episode that ended well. They run first, in the same module
        and within the same limits, and what they print is discarded.
        """
        if len(code) + sum(map(len, earlier)) > MAX_CODE_CHARS:
            reason = f"a program may have {MAX_CODE_CHARS} characters"
            refused: concurrent.futures.Future[ExecutionResult] = concurrent.futures.Future()
            refused.set_result(ExecutionResult(code, "", reason, Status.BLOCKED, 0.0))
            return refused
        convert = functools.partial(_result, code)
        return self.call(
            code, list(earlier), convert=convert, timeout_s=timeout_s, output_chars=output_chars
        )

    def run(self, codes: Sequence[str]) -> list[ExecutionResult]:
        """Runs programs side by side; results in the order of `codes`."""
        return [future.result() for future in [self.submit(code) for code in codes]]

    def capabilities(self) -> dict[str, Any]:
        """What protects this machine from the programs."""
        return capabilities.report(self.config.modules, self.config.workers, self.missing)


def probe(config: ExecutorConfig) -> dict[str, Any]:
    """`Executor.capabilities` of an executor with this config, without loading its modules.

    Raises `ValueError` if the host offers less than `min_protection`, and `ExecutorFailure`.
    """
    bare = dataclasses.replace(config, workers=1, modules=())
    with Executor(bare) as running:
        return capabilities.report(config.modules, config.workers, running.missing)


def _result(code: str, end: Ending) -> ExecutionResult:
    return ExecutionResult(code, end.stdout, end.stderr, end.status, end.wall_s, end.truncated)
