"""What the executor measures of its own work: latency, wait in the queue, failures of ours."""

import collections
import threading
from typing import Literal, NamedTuple

#: Programs over which the rate of our failures is taken.
WINDOW = 200


class Measurements(NamedTuple):
    """Of the programs since the last reading. Seconds; None where there was no program.

    latency: from the program's start to its result. queue_wait: from its submission to its start.
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
        self._counts: collections.Counter[str] = collections.Counter()

    def note(self, *, wait_s: float, latency_s: float, infra: bool) -> None:
        """One program that ended."""
        with self._lock:
            self._waits.append(wait_s)
            self._latencies.append(latency_s)
            self._counts["infra"] += infra
            self._recent.append(infra)

    def count(self, event: Literal["cancelled", "restarts"]) -> None:
        """One more of these."""
        with self._lock:
            self._counts[event] += 1

    def recent_infra(self) -> int:
        """Failures of ours among the last `WINDOW` programs."""
        with self._lock:
            return sum(self._recent)

    def take(self) -> Measurements:
        """What was measured since the last call."""
        with self._lock:
            counts = [self._counts[name] for name in ("infra", "cancelled", "restarts")]
            times = [
                quantile(sorted(values), share)
                for values in (self._latencies, self._waits)
                for share in (0.50, 0.95)
            ]
            taken = Measurements(len(self._waits), *counts, *times)
            self._clear()
        return taken


def quantile(ordered: list[float], share: float) -> float | None:
    """The smallest of the sorted values that at least `share` of them do not exceed."""
    return ordered[max(-int(-share * len(ordered) // 1) - 1, 0)] if ordered else None
