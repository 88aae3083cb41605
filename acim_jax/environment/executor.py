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

import dataclasses
import functools
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from acim_jax.environment import tools
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.confined import ConfinedFunction, Ending
from acim_jax.environment.protocol import Job
from acim_jax.environment.sandbox import kernel, protection
from acim_jax.environment.server import ToolFailure
from acim_jax.records import ExecutionResult, Status

#: A longer program is refused before it runs.
_MAX_CODE_CHARS = 1 << 20
#: What stops the threats of a layer where the layer is missing.
_INSTEAD: Mapping[protection.Layer, str] = {
    "namespaces": "seccomp and Landlock refuse network, processes and signals; a subreaper ends "
    "what escapes; programs see process ids of the host",
    "private_files": "Landlock holds files; the scratch folder lies on the host's disk and is "
    "measured ten times a second",
    "user_change": "programs run as this user: seccomp and Landlock keep them from its files and "
    "processes",
    "no_capabilities": "none",
    "no_new_privileges": "none: Landlock and seccomp need it",
    "landlock": "file permissions, and the file view of a namespace where there is one",
    "seccomp": "Landlock holds files and TCP; sub-processes are ended with the program",
}


class Executor(ConfinedFunction):
    """Fork servers that run programs; `ConfinedFunction` says what it raises when it is opened.

    With tools it waits until they are loaded, and raises as `tools.files` does, and `ValueError`
    for a file that does not load.
    """

    def __init__(
        self, config: ExecutorConfig | None = None, *, leave_out: Sequence[protection.Layer] = ()
    ) -> None:
        config = config or ExecutorConfig()
        files = tools.files(config.tools)
        job = Job("acim_jax.environment.program:run", config.modules, tools=files)
        super().__init__(job, config, leave_out=leave_out)
        if files:
            self._wait_for_tools()

    def _wait_for_tools(self) -> None:
        try:
            self.submit("").result()
        except BaseException as error:
            self.close()
            if isinstance(error, ToolFailure):
                may = ", ".join(self.config.modules) or "no others"
                raise ValueError(
                    f"executor.tools: {error}. It may import the standard library and "
                    f"executor.modules ({may}); it has no network and no files of yours."
                ) from error
            raise
        self.take_measurements()

    def submit(
        self,
        code: str,
        timeout_s: float | None = None,
        *,
        output_chars: int | None = None,
        earlier: Sequence[str] = (),
    ) -> Future[ExecutionResult]:
        """Runs a program; timeouts, output, blocking and errors are those of `call`.

        earlier: programs of the same episode that ended well. They run first, in the same module
        and within the same limits, and what they print is discarded.
        """
        if len(code) + sum(map(len, earlier)) > _MAX_CODE_CHARS:
            reason = f"a program may have {_MAX_CODE_CHARS} characters"
            refused: Future[ExecutionResult] = Future()
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
        """What protects this machine from the programs, as `acim doctor` reports it."""
        return _capabilities(self.config, self.missing)


def probe(config: ExecutorConfig) -> dict[str, Any]:
    """`Executor.capabilities` of an executor with this config, without loading its modules, unless
    there are tools, which are loaded to see that they can be.

    Raises `ValueError` if the host offers less than `min_protection` or a tool does not load, and
    `ExecutorFailure`.
    """
    modules = config.modules if config.tools else ()
    with Executor(dataclasses.replace(config, workers=1, modules=modules)) as running:
        return _capabilities(config, running.missing)


def _capabilities(
    config: ExecutorConfig, missing: Mapping[protection.Layer, str]
) -> dict[str, Any]:
    """The layers of protection, each true if it is in force. missing: reason by layer not held."""
    held = {name: name not in missing for name in protection.LAYERS}
    return {
        "protection": protection.level(held),
        "layers": {
            "cpu_and_wall_time": True,
            "process_group": True,
            "clean_environment": True,
            "scratch_folder": True,
            "file_size_and_count_of_open_files": True,
            "memory": kernel.IS_LINUX,
            "adoption_of_escaped_processes": kernel.IS_LINUX,
            **held,
        },
        "missing": dict(missing),
        "instead": {name: _INSTEAD[name] for name in missing},
        "root": os.geteuid() == 0,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "modules": {name: _version(name) for name in config.modules},
        "workers": config.workers,
    }


def _version(module: str) -> str:
    """The installed version of the package that holds a top-level module."""
    names = importlib.metadata.packages_distributions().get(module)
    return importlib.metadata.version(names[0]) if names else "unknown"


def _result(code: str, end: Ending) -> ExecutionResult:
    return ExecutionResult(code, end.stdout, end.stderr, end.status, end.wall_s, end.truncated)
