"""A pool of fork servers behind one bounded queue: each is driven by a thread of its own."""

import concurrent.futures
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from acim_jax.environment import measurements
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.sandbox import protection
from acim_jax.environment.server import ExecutorFailure, Server, ServerDied

Reply = dict[str, Any]
T = TypeVar("T")


class Ticket(concurrent.futures.Future[T]):
    """The result of a request. `cancel` works until the result is there, and ends the child."""

    def __init__(self, end: Callable[["Ticket[Any]"], None]) -> None:
        super().__init__()
        self._end = end

    def cancel(self) -> bool:
        """Drops the request, and ends its child if it runs; False if it is done."""
        if not self.cancelled() and super().cancel():
            self.set_running_or_notify_cancel()  # wakes the threads that wait for the result
            self._end(self)
        return self.cancelled()


class _Task(NamedTuple):
    request: Mapping[str, Any]
    ticket: Ticket[Any]
    convert: Callable[[Reply], Any]
    submitted: float


class ServerPool:
    """Sends requests to `workers` servers, each made with `setup` and `root`."""

    def __init__(self, setup: Mapping[str, Any], root: Path, config: ExecutorConfig) -> None:
        self._setup, self._root, self.ledger = setup, root, measurements.Ledger()
        self._max_infra = config.max_infra_rate * measurements.WINDOW
        self._queue: queue.Queue[_Task | None] = queue.Queue(config.waiting)
        self._lock = threading.Lock()
        self._running: dict[Ticket[Any], Server] = {}
        self._closed = False
        self._servers = [Server(setup, root) for _ in range(config.workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(slot,), name="executor", daemon=True)
            for slot in range(config.workers)
        ]
        for thread in self._threads:
            thread.start()

    def missing(self) -> Mapping[protection.Layer, str]:
        """`Server.missing` of one of them."""
        return self._servers[0].missing()

    def submit(self, request: Mapping[str, Any], convert: Callable[[Reply], T]) -> Ticket[T]:
        """Puts a request into the queue; blocks while the queue is full.

        convert: makes the ticket's result from the server's reply, or from `{"infra": text}` for a
        failure of ours. Raises `ExecutorFailure` if the pool is closed.
        """
        ticket: Ticket[T] = Ticket(self._end)
        task = _Task(request, ticket, convert, time.monotonic())
        while True:
            if self._closed:
                raise ExecutorFailure("The executor is closed; open a new one.")
            with contextlib.suppress(queue.Full):
                self._queue.put(task, timeout=0.5)
                if self._closed:  # meanwhile: the threads may have ended
                    ticket.cancel()
                    raise ExecutorFailure("The executor was closed while the program waited.")
                return ticket

    def close(self) -> None:
        """Kills what runs, cancels what waits, and ends the threads."""
        self._closed = True
        with self._lock:
            for server in self._servers:
                server.kill()  # the threads that wait for them return at once
        with contextlib.suppress(queue.Empty):
            while True:
                if task := self._queue.get_nowait():
                    task.ticket.cancel()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def stop_servers(self) -> None:
        """Ends the servers, removes their folders, and lets idle threads end."""
        self._closed = True
        with self._lock:
            servers, self._servers = self._servers, []
        for server in servers:
            server.stop()
        with contextlib.suppress(queue.Full):
            for _ in self._threads:
                self._queue.put_nowait(None)

    def _end(self, ticket: Ticket[Any]) -> None:
        with self._lock:
            server = self._running.get(ticket)
        if server is not None:
            server.cancel()
        self.ledger.count("cancelled")

    def _work(self, slot: int) -> None:
        while (task := self._queue.get()) is not None:
            if task.ticket.cancelled():
                continue
            begin = time.monotonic()
            # A ticket that is cancelled at any point from here on takes neither error nor result.
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                try:
                    reply = self._serve(slot, task)
                except Exception as error:
                    task.ticket.set_exception(error)
                    continue
                if reply is not None:
                    wait, latency = begin - task.submitted, time.monotonic() - begin
                    self.ledger.note(wait_s=wait, latency_s=latency, infra="infra" in reply)
                    task.ticket.set_result(task.convert(reply))

    def _serve(self, slot: int, task: _Task) -> Reply | None:
        """One request on this thread's server. If that fails by a fault of ours, once more on a
        fresh one."""
        if self.ledger.recent_infra() > self._max_infra:
            raise ExecutorFailure(
                "too many programs failed on the executor's side; look at its capability report "
                "(`acim doctor`), or raise executor.max_infra_rate."
            )
        reply: Reply | None = None
        for _ in range(2):
            server = self._servers[slot]
            with self._lock:
                self._running[task.ticket] = server
            try:
                reply = server.request(task.request, lambda: not task.ticket.cancelled())
            except ServerDied as error:
                reply = {"infra": str(error)}
            finally:
                with self._lock:
                    del self._running[task.ticket]
            if reply is None:
                return None
            if "infra" not in reply:
                if reply["confined"] or reply["reason"] == "cancelled":  # perhaps before it was
                    return reply
                reply = {"infra": f"a child could not be confined: {reply['stderr']}"}
            server.stop()
            with self._lock:
                if self._closed:
                    raise ExecutorFailure("The executor was closed while the program ran.")
                self._servers[slot] = Server(self._setup, self._root)
            self.ledger.count("restarts")
        return reply
