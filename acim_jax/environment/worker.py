"""A fork server: started by exec, preloads the allowed modules, forks one child per program.

It never runs a program itself and never imports jax. It keeps the wall clock of its child, reads
both of its pipes without ever holding more than the output limit, and decides by the wait status.
Standard library only; what programs may import is loaded by `preload.py`.
"""

import contextlib
import dataclasses
import importlib
import importlib.machinery
import importlib.metadata
import os
import select
import shutil
import signal
import stat
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

from acim_jax.environment import child, preload, protocol
from acim_jax.environment.capture import Capture


def main() -> None:
    """Serves requests from standard input until it closes; leaves no scratch folder behind."""
    requests, replies = _take_control_fds()
    setup = protocol.receive(requests)
    if setup is None:
        return
    try:
        _serve_all(setup, requests, replies)
    finally:
        shutil.rmtree(setup["scratch"], ignore_errors=True)
        with contextlib.suppress(OSError):  # other servers' folders may stand in it
            os.rmdir(os.path.dirname(setup["scratch"]))


def _serve_all(setup: dict[str, Any], requests: int, replies: int) -> None:
    try:
        modules = preload.load(setup["modules"], setup["folders"])
    except BaseException:
        protocol.send(replies, {"error": traceback.format_exc()})
        return
    limits = child.Limits(**setup["limits"])
    supervisor = Supervisor(requests, setup["scratch"], limits, setup["output_chars"], modules)
    reply: dict[str, Any] = {"ready": True}
    with contextlib.suppress(BrokenPipeError):  # the executor is gone
        while True:
            protocol.send(replies, reply)
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


class _End(NamedTuple):
    """exit_code: negative for a signal. timed_out: killed at the wall deadline."""

    exit_code: int
    cpu_s: float
    timed_out: bool


class Supervisor:
    """Runs one child at a time and reports how it ended."""

    def __init__(
        self,
        control: int,
        scratch: str,
        limits: child.Limits,
        output_chars: int,
        modules: preload.ModuleList,
    ) -> None:
        self.control = control
        self.scratch = scratch
        self.limits = limits
        self.output_chars = output_chars
        self.hidden = [
            name
            for name in sys.modules
            if (root := name.partition(".")[0]) in preload.TRUSTED and root not in modules.allowed
        ]
        self.wake_read, wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        if child.IS_LINUX:
            pr_set_child_subreaper = 36
            self.limits = dataclasses.replace(limits, base_bytes=child.address_space())
            child.LIBC.prctl(pr_set_child_subreaper, 1, 0, 0, 0)

    def serve(self, request: dict[str, Any], replies: int) -> dict[str, Any]:
        """Runs one request in a child; the reply holds its output and how it ended."""
        folder = os.path.join(self.scratch, "run")
        os.mkdir(folder, 0o700)
        try:
            return self._run(request, folder, replies)
        finally:
            _remove(folder)

    def _run(self, request: dict[str, Any], folder: str, replies: int) -> dict[str, Any]:
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        begin = time.monotonic()
        server = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                child.run(
                    lambda: self._job(request), out_write, err_write, folder, self.limits, server
                )
        finally:
            os.close(out_write)
            os.close(err_write)
        output_chars = request.get("output_chars", self.output_chars)
        out = Capture(out_read, output_chars, marker=child.READY)
        err = Capture(err_read, output_chars)
        try:
            with contextlib.suppress(BrokenPipeError):  # `_watch` sees that the executor is gone
                protocol.send(replies, {"pid": pid})
            end = self._watch(pid, (out, err), begin + request["timeout_s"])
            wall = time.monotonic() - begin
            _kill_group(pid)
            _kill_strays()
            out.drain()
            err.drain()
        finally:
            os.close(out_read)
            os.close(err_read)
        stdout, stderr = out.text(), err.text()
        return {
            "confined": out.marked,
            "timed_out": end.timed_out,
            "exit": end.exit_code,
            "cpu_s": end.cpu_s,
            "wall_s": wall,
            "stdout": stdout.text,
            "stderr": stderr.text,
            "truncated": stdout.truncated or stderr.truncated,
        }

    def _job(self, request: dict[str, Any]) -> int:
        if request["kind"] == "compare":
            symbolic = importlib.import_module("acim_jax.environment.symbolic")
            same = symbolic.equal(request["prediction"], request["answer"])
            return child.EQUAL_EXIT if same else child.DIFFERENT_EXIT
        for name in self.hidden:
            sys.modules.pop(name, None)
        return child.run_program(request["code"])

    def _watch(self, pid: int, captures: Sequence[Capture], deadline: float) -> _End:
        """Reads output until the child has ended or its deadline has come, and reaps it."""
        poll = select.poll()
        poll.register(self.wake_read, select.POLLIN)
        poll.register(self.control, 0)  # reports hang-up only: the executor is gone
        for capture in captures:
            poll.register(capture.fd, select.POLLIN)
        by_fd = {capture.fd: capture for capture in captures}
        timed_out = False
        while True:
            ended, status, usage = os.wait4(pid, 0 if timed_out else os.WNOHANG)
            if ended:
                seconds = usage.ru_utime + usage.ru_stime
                return _End(os.waitstatus_to_exitcode(status), seconds, timed_out)
            left = deadline - time.monotonic()
            events = poll.poll(left * 1000 + 1) if left > 0 else []
            gone = any(fd == self.control for fd, _ in events)
            if gone or left <= 0:
                _kill_group(pid)
                os.kill(pid, signal.SIGKILL)  # it may not have made its group yet
                timed_out = True
            for fd, _ in events:
                if fd == self.wake_read:
                    os.read(fd, 512)
                elif not by_fd[fd].read():
                    poll.unregister(fd)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _kill_strays(patience_s: float = 2.0) -> None:
    """Kills and reaps what left the child's process group: a subreaper adopts it."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                strays = [int(number) for number in file.read().split()]
            for stray in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stray, signal.SIGKILL)
            time.sleep(0.001)
    raise OSError(f"processes that left their group could not be killed in {patience_s:g} s")


def _remove(folder: str) -> None:
    """Removes a scratch folder; links are not followed, closed folders are opened first."""
    try:
        os.rmdir(folder)  # most programs leave nothing behind
        return
    except OSError:
        os.chmod(folder, stat.S_IRWXU)
    for path, names, _ in os.walk(folder):
        for name in names:
            inner = os.path.join(path, name)
            if not os.path.islink(inner):
                os.chmod(inner, stat.S_IRWXU)
    shutil.rmtree(folder)
