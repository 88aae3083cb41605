"""Worker threads, each with a fork server of its own, behind one bounded queue."""

import concurrent.futures
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from acim_jax.environment.measurements import Ledger
from acim_jax.environment.server import Introduction, Server, ServerDied, ServerFailedToStart

Reply = dict[str, Any]
T = TypeVar("T")


class ExecutorFailure(RuntimeError):
    """The executor itself does not work: its servers cannot start, or fail too often, or are
    closed."""


class Ticket(concurrent.futures.Future[T]):
    """The result of a request to come. `cancel` works until it is there, and ends the program."""

    def __init__(self, end: Callable[["Ticket[Any]"], None]) -> None:
        super().__init__()
        self._end = end

    def cancel(self) -> bool:
        """Drops the request, and ends its program if it runs; False if it is done."""
        if self.cancelled():
            return True
        if not super().cancel():
            return False
        self.set_running_or_notify_cancel()  # wakes who waits for it
        self._end(self)
        return True


class _Task(NamedTuple):
    request: Mapping[str, Any]
    ticket: Ticket[Any]
    convert: Callable[[Reply], Any]
    handed_over: float


class Pool:
    """Runs requests on `workers` servers.

    setup: what the servers start with. root: folder for their scratch folders. waiting: requests
    that may wait. max_infra: failures of ours among the last `measurements.WINDOW` programs beyond
    which no more is run. Servers start at once, in the background.
    """

    def __init__(
        self,
        setup: Mapping[str, Any],
        root: Path,
        *,
        workers: int,
        waiting: int,
        max_infra: float,
        ledger: Ledger,
    ) -> None:
        self._setup, self._root, self._ledger, self._max_infra = setup, root, ledger, max_infra
        self._queue: queue.Queue[_Task | None] = queue.Queue(waiting)
        self._lock = threading.Lock()
        self._running: dict[Ticket[Any], Server] = {}
        self._closed = False
        self._servers = [Server(setup, root) for _ in range(workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(slot,), name="executor", daemon=True)
            for slot in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def introductions(self) -> list[Introduction]:
        """Of the living servers. Raises `ExecutorFailure`."""
        with self._lock:
            servers = list(self._servers)
        try:
            return [server.introduction() for server in servers]
        except ServerFailedToStart as error:
            raise ExecutorFailure(str(error)) from error

    def submit(self, request: Mapping[str, Any], convert: Callable[[Reply], T]) -> Ticket[T]:
        """Hands a request over; waits while the queue is full.

        convert: makes the ticket's result of the server's reply, or of `{"infra": text}` for a
        failure of ours. Raises `ExecutorFailure` if the pool is closed.
        """
        ticket: Ticket[T] = Ticket(self._end)
        task = _Task(request, ticket, convert, time.monotonic())
        while True:
            if self._closed:
                raise ExecutorFailure("The executor is closed; open a new one.")
            with contextlib.suppress(queue.Full):
                self._queue.put(task, timeout=0.5)
                if self._closed:  # meanwhile; nobody may be left to serve it
                    ticket.cancel()
                    raise ExecutorFailure("The executor was closed while the program waited.")
                return ticket

    def close(self) -> None:
        """Kills what runs, cancels what waits, and ends servers and threads."""
        self._closed = True
        with self._lock:
            for server in self._servers:
                server.kill()  # the threads that wait for them return at once
        with contextlib.suppress(queue.Empty):
            while True:
                task = self._queue.get_nowait()
                if task is not None:
                    task.ticket.cancel()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self.stop_servers()

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
        self._ledger.note_cancelled()

    def _work(self, slot: int) -> None:
        while (task := self._queue.get()) is not None:
            if task.ticket.cancelled():
                continue
            begin = time.monotonic()
            try:
                reply = self._serve(slot, task)
            except Exception as error:
                with contextlib.suppress(concurrent.futures.InvalidStateError):
                    task.ticket.set_exception(error)
                continue
            if reply is None:
                continue
            now, infra = time.monotonic(), "infra" in reply
            self._ledger.note(wait_s=begin - task.handed_over, latency_s=now - begin, infra=infra)
            with contextlib.suppress(concurrent.futures.InvalidStateError):  # just cancelled
                task.ticket.set_result(task.convert(reply))

    def _serve(self, slot: int, task: _Task) -> Reply | None:
        """One request on this thread's server; a second try on a fresh one if that fails on us."""
        if self._ledger.recent_infra() > self._max_infra:
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
            except ServerFailedToStart as error:
                raise ExecutorFailure(str(error)) from error
            finally:
                with self._lock:
                    del self._running[task.ticket]
            if reply is not None and "infra" not in reply and not _may_be_trusted(reply):
                reply = {"infra": f"a child could not be confined: {reply['stderr']}"}
            if reply is None or "infra" not in reply:
                return reply
            self._replace(slot, server)
            self._ledger.note_restart()
        return reply

    def _replace(self, slot: int, server: Server) -> None:
        server.stop()
        with self._lock:
            if self._closed:
                raise ExecutorFailure("The executor was closed while the program ran.")
            self._servers[slot] = Server(self._setup, self._root)


def _may_be_trusted(reply: Reply) -> bool:
    """A program ran confined; one that was cancelled may not have come so far."""
    return reply["confined"] or reply["reason"] == "cancelled"
