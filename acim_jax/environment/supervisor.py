"""One child at a time: forked, watched, ended, and its end reported. Runs inside a fork server.

The server keeps the wall clock of its child, holds no more of both its outputs than the limit, and
judges by the wait status.
"""

import contextlib
import functools
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from acim_jax.environment import child, protocol, scratch
from acim_jax.environment.capture import Capture
from acim_jax.environment.sandbox import kernel
from acim_jax.environment.sandbox.confinement import Confinement

#: How often the scratch folder is measured where no file system of its own bounds it.
_DISK_TICK_S = 0.1


class Supervisor:
    """control: the pipe of requests, which can also ask for the end of the running child.

    function: is called in each child. hidden: loaded modules that it may not find.
    """

    def __init__(
        self,
        control: int,
        confinement: Confinement,
        function: Callable[..., int],
        hidden: Sequence[str],
    ) -> None:
        self.control, self.confinement = control, confinement
        self.function, self.hidden = function, hidden
        self.alone = "namespaces" in confinement.layers
        self.disk_tick_s = math.inf if "private_files" in confinement.layers else _DISK_TICK_S
        self.wake_read, wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    def serve(self, request: dict[str, Any], replies: int) -> dict[str, Any]:
        """Runs one request in a child; the reply says how it ended. Raises `OSError` of our own."""
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(scratch.empty, self.confinement.scratch)
            out_read, out_write = os.pipe()
            err_read, err_write = os.pipe()
            for fd in (out_read, err_read):
                cleanup.callback(os.close, fd)
            begin, server = time.monotonic(), os.getpid()
            try:
                pid = os.fork()
                if pid == 0:
                    call = functools.partial(self._call, request["arguments"])
                    child.run(call, out_write, err_write, self.confinement, server)
            finally:
                os.close(out_write)
                os.close(err_write)
            out = Capture(out_read, request["output_chars"], marker=child.READY)
            err = Capture(err_read, request["output_chars"])
            if not self.alone:  # in a namespace of its own it dies with the server
                with contextlib.suppress(BrokenPipeError):  # `_watch` sees that nobody reads it
                    protocol.send(replies, {"pid": pid})
            ended = self._watch(pid, (out, err), begin + request["timeout_s"], request["serial"])
            wall = time.monotonic() - begin
            self._kill_rest(pid)
            out.drain()
            err.drain()
        (stdout, out_is_cut), (stderr, err_is_cut) = out.text(), err.text()
        return {
            **ended,
            "confined": out.marked,
            "wall_s": wall,
            "stdout": stdout,
            "stderr": stderr,
            "truncated": out_is_cut or err_is_cut,
        }

    def _call(self, arguments: Sequence[Any]) -> int:
        for name in self.hidden:
            sys.modules.pop(name, None)
        return self.function(*arguments)

    def _watch(
        self, pid: int, captures: Sequence[Capture], deadline: float, serial: int
    ) -> dict[str, Any]:
        """Reads output until the child has ended or must end, and reaps it.

        exit: negative for a signal. reason: why it was killed; "" if it ended by itself.
        """
        poll = select.poll()
        for fd in (self.wake_read, self.control, *(capture.fd for capture in captures)):
            poll.register(fd, select.POLLIN)
        by_fd = {capture.fd: capture for capture in captures}
        reason = ""
        tick = time.monotonic() + self.disk_tick_s
        while True:
            ended, status, usage = os.wait4(pid, 0 if reason else os.WNOHANG)
            if ended:
                seconds, code = usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status)
                return {"exit": code, "cpu_s": seconds, "reason": reason}
            now = time.monotonic()
            until = min(deadline, tick)
            events = poll.poll((until - now) * 1000 + 1) if until > now else []
            if now >= deadline:
                reason = "timeout"
            elif now >= tick:
                tick = now + self.disk_tick_s
                limits = self.confinement.limits
                used, files = scratch.size(self.confinement.scratch, limits.files)
                reason = "disk" if used > limits.disk_bytes or files > limits.files else ""
            for fd, _ in events:
                if fd == self.wake_read:
                    os.read(fd, 512)
                elif fd == self.control:
                    reason = reason or self._read_control(serial)
                elif not by_fd[fd].read():
                    poll.unregister(fd)
            if reason:
                _kill_group(pid)
                os.kill(pid, signal.SIGKILL)  # it may not have made its group yet

    def _read_control(self, serial: int) -> str:
        """Why the child must end: the executor is gone, or cancels this request; else ""."""
        message = protocol.receive(self.control)
        if message is None:
            return "gone"
        return "cancelled" if message["cancel"] == serial else ""

    def _kill_rest(self, pid: int) -> None:
        """Kills and reaps every process that the child may have left."""
        _kill_group(pid)
        patience_s = 2.0
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                ended, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if ended == 0:
                self._kill_strays()
                time.sleep(0.001)
        raise OSError(f"processes that left their group could not be killed in {patience_s:g} s")

    def _kill_strays(self) -> None:
        if self.alone:
            os.kill(-1, signal.SIGKILL)  # everything in the namespace but its first process
        elif kernel.IS_LINUX:  # a subreaper adopts them
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                strays = [int(number) for number in file.read().split()]
            for stray in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stray, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
