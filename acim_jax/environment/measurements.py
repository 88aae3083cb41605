"""What the executor measures of its own work: latency, wait in the queue, failures of ours."""

import collections
import threading
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

#: Programs over which the rate of our failures is taken.
WINDOW = 200

Event = Literal["infra", "cancelled", "restarts"]


class Measurements(NamedTuple):
    """Of the programs since the last reading. infra: failures of ours. restarts: servers replaced.

    latencies_s: from each program's start to its result. waits_s: from submission to start.
    """

    infra: int
    cancelled: int
    restarts: int
    latencies_s: tuple[float, ...]
    waits_s: tuple[float, ...]


class Ledger:
    """Counts that many threads write and one reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: collections.deque[bool] = collections.deque(maxlen=WINDOW)
        self._counts: collections.Counter[Event] = collections.Counter()
        self._times: list[tuple[float, float]] = []

    def note(self, *, wait_s: float, latency_s: float, infra: bool) -> None:
        """One program that ended."""
        with self._lock:
            self._times.append((latency_s, wait_s))
            self._counts["infra"] += infra
            self._recent.append(infra)

    def count(self, event: Event) -> None:
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
            counts, self._counts = self._counts, collections.Counter()
            times, self._times = self._times, []
        latencies, waits = tuple(latency for latency, _ in times), tuple(wait for _, wait in times)
        return Measurements(
            counts["infra"], counts["cancelled"], counts["restarts"], latencies, waits
        )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values (one or more) do not exceed."""
    return float(np.quantile(values, share, method="inverted_cdf"))
