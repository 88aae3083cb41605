"""What the executor measures of its own work: latency, queue wait, failures of ours."""

import collections
import threading
from typing import NamedTuple

#: Programs over which the rate of our failures is taken.
WINDOW = 200


class Measurements(NamedTuple):
    """Of the programs since the last reading. Seconds; None where there was no program.

    latency: from the program's start to its result. queue_wait: from its hand-over to its start.
    restarts: servers that had to be replaced.
    """

    programs: int
    infra: int
    cancelled: int
    restarts: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    queue_wait_p50_s: float | None
    queue_wait_p95_s: float | None

    def seconds(self) -> dict[str, float]:
        """The times as metrics; those of no program are left out."""
        named = {
            "time/program_p50": self.latency_p50_s,
            "time/program_p95": self.latency_p95_s,
            "time/program_wait_p50": self.queue_wait_p50_s,
            "time/program_wait_p95": self.queue_wait_p95_s,
        }
        return {name: value for name, value in named.items() if value is not None}


class Ledger:
    """Counts that many threads write and one reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: collections.deque[bool] = collections.deque(maxlen=WINDOW)
        self._clear()

    def _clear(self) -> None:
        self._latencies: list[float] = []
        self._waits: list[float] = []
        self._infra = self._cancelled = self._restarts = 0

    def note(self, *, wait_s: float, latency_s: float, infra: bool) -> None:
        """One program that ended."""
        with self._lock:
            self._waits.append(wait_s)
            self._latencies.append(latency_s)
            self._infra += infra
            self._recent.append(infra)

    def note_cancelled(self) -> None:
        with self._lock:
            self._cancelled += 1

    def note_restart(self) -> None:
        with self._lock:
            self._restarts += 1

    def recent_infra(self) -> int:
        """Failures of ours among the last `WINDOW` programs."""
        with self._lock:
            return sum(self._recent)

    def take(self) -> Measurements:
        """What was measured since the last call."""
        with self._lock:
            waits, latencies = sorted(self._waits), sorted(self._latencies)
            taken = Measurements(
                programs=len(waits),
                infra=self._infra,
                cancelled=self._cancelled,
                restarts=self._restarts,
                latency_p50_s=quantile(latencies, 0.50),
                latency_p95_s=quantile(latencies, 0.95),
                queue_wait_p50_s=quantile(waits, 0.50),
                queue_wait_p95_s=quantile(waits, 0.95),
            )
            self._clear()
        return taken


def quantile(ordered: list[float], share: float) -> float | None:
    """The smallest of the sorted values that at least `share` of them do not exceed."""
    if not ordered:
        return None
    return ordered[max(-int(-share * len(ordered) // 1) - 1, 0)]
