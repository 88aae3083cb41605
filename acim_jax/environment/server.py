"""A handle of one fork server (`worker.py`)."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from acim_jax.environment import protocol
from acim_jax.environment.sandbox import protection

_START_S = 120.0
#: The server answers at its child's deadline; this much later it counts as hung.
_GRACE_S = 30.0
#: How long the process that forks may take to end after the server was killed.
_PATIENCE_S = 10.0

_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from acim_jax.environment import worker; worker.main()"
)
_ONE_THREAD_EACH = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")


class ServerDied(Exception):
    """The server ended or hung; the request it was given has no result."""


class ExecutorFailure(RuntimeError):
    """Servers cannot start, fail too often, or are closed: a fault of ours, of no program."""


class ToolFailure(ExecutorFailure):
    """A file of tools does not load: its author's fault."""


class Server:
    """A fork server that starts at once, in the background. setup: what `worker.main` expects.

    root: folder that holds the server's scratch folder.
    """

    def __init__(self, setup: Mapping[str, Any], root: Path) -> None:
        self._scratch = _new_folder(root)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `stop`)
        self._missing: Mapping[protection.Layer, str] | None = None
        self._ending = -1  # readable when the process that forks has ended
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._ready, self._serial = False, 0
        # -S and -P keep everything but the standard library off the import path; the environment
        # is made from nothing, so that a program finds no secret in it.
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-s", "-P", "-c", _BOOT, str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_clean_environment(self._scratch),
            cwd=self._scratch,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests = self._process.stdin.fileno()
        self._replies = self._process.stdout.fileno()
        with contextlib.suppress(OSError):  # a server that is gone already is found by `request`
            protocol.send(self._requests, {**setup, "scratch": str(self._scratch)})

    def missing(self) -> Mapping[protection.Layer, str]:
        """Reason by layer not in force, known before it is ready. Raises `ExecutorFailure`."""
        with self._reading:
            if self._missing is None:
                reply = self._read_start()
                if hasattr(os, "pidfd_open"):
                    with contextlib.suppress(OSError):  # it has ended already
                        self._ending = os.pidfd_open(reply["pid"])
                self._missing = reply["missing"]
            return self._missing or {}

    def request(
        self, message: Mapping[str, Any], is_wanted: Callable[[], bool]
    ) -> dict[str, Any] | None:
        """Has one child run and returns the server's reply; None if it was not wanted any more.

        Raises `ServerDied`, and `ExecutorFailure` if the server was never ready.
        """
        self.missing()
        if not self._ready:
            self._read_start()
            self._ready = True
        child_pid = 0
        deadline = time.monotonic() + message["timeout_s"] + _GRACE_S
        reason = "it closed its pipe"
        try:
            with self._writing:
                if not is_wanted():
                    return None
                self._serial += 1
                protocol.send(self._requests, {**message, "serial": self._serial})
            while (reply := protocol.receive(self._replies, deadline)) is not None:
                if "pid" not in reply:
                    return reply
                child_pid = reply["pid"]
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        if child_pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child_pid, signal.SIGKILL)
        raise ServerDied(f"executor server {self._process.pid} died: {reason}")

    def cancel(self) -> None:
        """Ends the child that runs, if one does; called from another thread than `request`."""
        with self._writing, contextlib.suppress(OSError, ValueError):
            protocol.send(self._requests, {"cancel": self._serial})

    def _read_start(self) -> dict[str, Any]:
        try:
            reply = protocol.receive(self._replies, time.monotonic() + _START_S)
        except (TimeoutError, ValueError) as error:
            raise ExecutorFailure(f"executor server did not get ready: {error}") from error
        if reply is None:
            self._stderr.seek(0)
            text = self._stderr.read().decode("utf-8", "replace")
            raise ExecutorFailure(f"executor server ended while it started:\n{text}")
        if "tool" in reply:
            raise ToolFailure(reply["tool"])
        if "error" in reply:
            raise ExecutorFailure(f"executor server could not start:\n{reply['error']}")
        return reply

    def kill(self) -> None:
        """Ends the server and its child; safe from any thread and more than once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def stop(self) -> None:
        """Ends the server, reaps it, and removes its scratch folder."""
        self.kill()
        self._process.wait()
        if self._ending >= 0:  # with namespaces it is the killed process's child, and dies after it
            poll = select.poll()
            poll.register(self._ending, select.POLLIN)
            poll.poll(_PATIENCE_S * 1000)
            os.close(self._ending)
            self._ending = -1
        with self._writing:
            for stream in (self._process.stdin, self._process.stdout, self._stderr):
                if stream is not None:
                    stream.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _new_folder(root: Path) -> Path:
    """Servers that end remove `root` with their own folder when nothing else is in it."""
    while True:
        root.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # removed just now
            return Path(tempfile.mkdtemp(dir=root))


def _clean_environment(home: Path) -> dict[str, str]:
    kept = ("LD_LIBRARY_PATH",)  # some interpreters find libpython through it
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "TZ": "UTC",
        "PYTHONUTF8": "1",
        "PYTHONHASHSEED": "0",  # the order of a set of strings is part of a program's result
        "VECLIB_MAXIMUM_THREADS": "1",
        **{f"{library}_NUM_THREADS": "1" for library in _ONE_THREAD_EACH},
        **{name: os.environ[name] for name in kept if name in os.environ},
    }
