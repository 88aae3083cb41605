"""Runs programs that a model wrote: fork servers, one fresh confined child per program.

`Executor` starts `workers` fork servers by exec, with a clean environment. They never import jax,
have the allowed modules loaded, and fork one child per program: own session and process group,
scratch folder, `/dev/null` as input, no open file but its three streams, limits on CPU time,
address space, file size and open files. The server keeps the wall deadline, kills the whole group,
adopts and kills what escaped it (Linux), and judges by the wait status alone. Nothing that a
program writes is evaluated or unpickled; its text can forge nothing but text.

What is NOT covered. This is an executor for a model's own mistakes, not a wall against an attacker:

- the file system: a program reads and writes whatever the user who runs this may;
- the network, in every family;
- sub-processes and fork bombs: killed with the program, but not prevented or counted; only a swarm
  that keeps forking out of its session for over 2 s survives;
- signals, ptrace and memory access to the fork server and to every process of the same user: a
  program that kills its server is run once more, then reported as `infra`;
- raising limits when the user is root; memory outside the address space (tmpfs, memfd), the number
  of files, the sum of their sizes;
- memory limits and adoption of escaped processes on systems other than Linux;
- `/proc`, the clock, the processor's model, and side channels.

Run it in a container or a virtual machine of its own if the policy cannot be trusted.
"""

import concurrent.futures
import dataclasses
import importlib.util
import math
import queue
import shutil
import signal
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from acim_jax.environment import capabilities, child, preload
from acim_jax.environment.server import Server, ServerDied, ServerFailedToStart
from acim_jax.records import ExecutionResult, Status

_CPU_SIGNALS = (signal.SIGPROF, signal.SIGXCPU)


@dataclasses.dataclass(frozen=True)
class ExecutorConfig:
    """What programs may use.

    workers: programs that run at once, one fork server each. timeout_s: wall time, kept outside
    the program. cpu_seconds: CPU time, which does not depend on the machine's load.
    memory_mb: address space over what the loaded modules take. output_chars: characters kept of
    standard output, and as many of standard error; the middle is cut. file_mb: size of one file.
    modules: third-party modules that programs may import; others are refused even if installed, so
    that results do not depend on the installation.
    """

    workers: int = 2
    timeout_s: float = 10.0
    cpu_seconds: float = 5.0
    memory_mb: int = 1024
    output_chars: int = 4096
    file_mb: int = 16
    modules: tuple[str, ...] = ("numpy", "sympy", "mpmath")

    def __post_init__(self) -> None:
        for name in ("workers", "memory_mb", "output_chars", "file_mb"):
            if getattr(self, name) < 1:
                raise ValueError(f"executor.{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("timeout_s", "cpu_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"executor.{name} must be a positive number, got {value}.")
        for name in self.modules:
            if not name.isidentifier():
                raise ValueError(
                    f"executor.modules must be top-level module names, got {name!r}; "
                    "write `sympy`, not a path, a version or a submodule."
                )


class ExecutorFailure(RuntimeError):
    """The executor itself does not work (its servers cannot start, or it was closed)."""


class Comparison(NamedTuple):
    """equal is False whenever status is not OK."""

    equal: bool
    status: Status
    wall_s: float


class Executor:
    """Fork servers that run programs. Close it, or use it as a context manager.

    Servers start in the background; the first program waits for one. Raises `ValueError` if a
    module of the config is not installed.
    """

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        self.config = config or ExecutorConfig()
        self._setup = _server_setup(self.config)
        self.scratch = Path(tempfile.mkdtemp(prefix="acim-executor-"))
        self._lock = threading.Lock()
        self._servers: set[Server] = set()
        self._idle: queue.SimpleQueue[Server] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._finalizer = weakref.finalize(self, _stop_all, self._servers, self.scratch)
        for _ in range(self.config.workers):
            self._idle.put(self._start_server())
        self._threads = concurrent.futures.ThreadPoolExecutor(
            self.config.workers, thread_name_prefix="executor"
        )

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self, code: str, timeout_s: float | None = None, *, output_chars: int | None = None
    ) -> concurrent.futures.Future[ExecutionResult]:
        """Runs a program as soon as a server is free; the future holds what became of it.

        timeout_s: wall time of this program; output_chars: characters kept of what it prints (unit
        tests read whole results); both by default the config's. The future raises
        `ExecutorFailure` only when no server can be started.
        """
        timeout_s = self._valid_timeout(timeout_s)
        chars = self.config.output_chars if output_chars is None else output_chars
        return self._submit(self._execute, code, timeout_s, chars)

    def run(self, codes: Sequence[str]) -> list[ExecutionResult]:
        """Runs programs side by side; results in the order of `codes`."""
        return [future.result() for future in [self.submit(code) for code in codes]]

    def compare(
        self, prediction: str, answer: str, timeout_s: float | None = None
    ) -> concurrent.futures.Future[Comparison]:
        """Compares two answers in LaTeX by symbolic computation, in a child that can be killed."""
        timeout_s = self._valid_timeout(timeout_s)
        return self._submit(self._compare, prediction, answer, timeout_s)

    def server_pids(self) -> list[int]:
        """Process ids of the living fork servers."""
        with self._lock:
            return sorted(server.pid for server in self._servers)

    def capabilities(self) -> dict[str, Any]:
        """What protects this machine from the programs, for `acim doctor` and the manifest."""
        return capabilities.report(self.config.modules, self.config.workers)

    def close(self) -> None:
        """Cancels what waits, kills what runs, and removes every process and scratch folder."""
        self._closed.set()
        with self._lock:
            for server in self._servers:
                server.kill()  # the threads that wait for them return at once
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._finalizer()

    def _submit(self, function: Any, *args: object) -> concurrent.futures.Future[Any]:
        if self._closed.is_set():
            raise ExecutorFailure("The executor is closed; open a new one.")
        return self._threads.submit(function, *args)

    def _valid_timeout(self, timeout_s: float | None) -> float:
        timeout_s = self.config.timeout_s if timeout_s is None else timeout_s
        if not (math.isfinite(timeout_s) and timeout_s > 0):
            raise ValueError(f"A program's timeout must be a positive number, got {timeout_s}.")
        return timeout_s

    def _execute(self, code: str, timeout_s: float, output_chars: int) -> ExecutionResult:
        reply = self._serve(
            {"kind": "run", "code": code, "timeout_s": timeout_s, "output_chars": output_chars}
        )
        if "infra" in reply:
            return ExecutionResult(code, "", reply["infra"], Status.INFRA, 0.0)
        return ExecutionResult(
            code=code,
            stdout=reply["stdout"],
            stderr=reply["stderr"],
            status=_status(reply, self.config.cpu_seconds),
            wall_s=reply["wall_s"],
            truncated=reply["truncated"],
        )

    def _compare(self, prediction: str, answer: str, timeout_s: float) -> Comparison:
        reply = self._serve(
            {
                "kind": "compare",
                "prediction": prediction,
                "answer": answer,
                "timeout_s": timeout_s,
            }
        )
        if "infra" in reply:
            return Comparison(False, Status.INFRA, 0.0)
        if reply["exit"] in (child.EQUAL_EXIT, child.DIFFERENT_EXIT):
            return Comparison(reply["exit"] == child.EQUAL_EXIT, Status.OK, reply["wall_s"])
        return Comparison(False, _status(reply, self.config.cpu_seconds), reply["wall_s"])

    def _serve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request on a free server; a second try on a fresh one if the first fails on us."""
        failure = ""
        for _ in range(2):
            server = self._idle.get()
            try:
                reply = server.request(request)
            except ServerDied as error:
                reply = {"infra": str(error)}
            except ServerFailedToStart as error:
                self._idle.put(server)  # others that wait must learn of it too
                raise ExecutorFailure(str(error)) from error
            if "infra" not in reply and not reply["confined"]:
                reply = {"infra": f"a child could not be confined: {reply['stderr']}"}
            if "infra" not in reply:
                self._idle.put(server)
                return reply
            failure = reply["infra"]
            self._idle.put(self._replace(server))
        return {"infra": failure}

    def _replace(self, server: Server) -> Server:
        if self._closed.is_set():
            self._idle.put(server)
            raise ExecutorFailure("The executor was closed while the program ran.")
        with self._lock:
            self._servers.discard(server)
        server.stop()
        return self._start_server()

    def _start_server(self) -> Server:
        server = Server(self._setup, self.scratch)
        with self._lock:
            self._servers.add(server)
        return server


def _status(reply: Mapping[str, Any], cpu_seconds: float) -> Status:
    """How a program ended, from its wait status and the server's clock alone."""
    code = reply["exit"]
    spent = code == -signal.SIGKILL and reply["cpu_s"] >= cpu_seconds  # RLIMIT_CPU's last word
    if reply["timed_out"] or -code in _CPU_SIGNALS or spent:
        return Status.TIMEOUT
    if code < 0:
        return Status.KILLED
    match code:
        case 0:
            return Status.OK
        case child.MEMORY_EXIT:
            return Status.MEMORY
        case _:
            return Status.ERROR


def _server_setup(config: ExecutorConfig) -> dict[str, Any]:
    folders = [_folder(name) for name in (*config.modules, *preload.COMPARISON_MODULES)]
    limits = child.Limits(
        cpu_seconds=config.cpu_seconds,
        memory_bytes=config.memory_mb << 20,
        file_bytes=config.file_mb << 20,
    )
    return {
        "modules": list(config.modules),
        "folders": list(dict.fromkeys(folders)),
        "limits": dataclasses.asdict(limits),
        "output_chars": config.output_chars,
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


def _stop_all(servers: set[Server], root: Path) -> None:
    for server in servers:
        server.stop()
    servers.clear()
    shutil.rmtree(root, ignore_errors=True)
