"""`metrics.jsonl`, the file of a run's numbers. A mean over nothing is null there, never 0."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acim_jax.files import failures, jsonl
from acim_jax.run.trackers import Tracker

log = logging.getLogger(__name__)


def read(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a `metrics.jsonl`. Raises `ValueError` for a malformed line.

    A last line without its newline was cut off by a crash and is left out.
    """
    records: list[dict[str, Any]] = []
    for number, record in jsonl.read(path, growing=True):
        if not isinstance(record.get("iteration"), int):
            raise ValueError(f"{path}:{number}: needed an object with a whole 'iteration'.")
        for key, value in record.items():
            if key != "nonfinite" and not isinstance(value, int | float | None):
                raise ValueError(f"{path}:{number}: {key!r} must be a number or null.")
        records.append(record)
    return records


def truncate_after(path: Path, iteration: int) -> None:
    """Cuts what came after `iteration`, a half-written last line included, if there is a file."""
    if path.exists():
        jsonl.write(path, [record for record in read(path) if record["iteration"] <= iteration])


class MetricsWriter:
    """Appends one JSON object per iteration to `metrics.jsonl`, mirrored to trackers.

    Each line is on the disk when `write` returns. Use as a context manager.
    """

    def __init__(self, folder: Path, trackers: Sequence[Tracker] = (), *, after: int = -1) -> None:
        """folder: of the run. trackers: closed with this. after: the iteration a resumed run goes
        on from; later lines are dropped."""
        self._path, self._trackers = folder / "metrics.jsonl", trackers
        truncate_after(self._path, after)

    def write(self, iteration: int, values: Mapping[str, Any]) -> None:
        """One line: `iteration` and `values` (numbers, numpy or jax scalars, None).

        NaN and infinities have no place in JSON: they become null, are named in the line's
        `nonfinite`, and are warned of.
        """
        record: dict[str, Any] = {"iteration": iteration}
        nonfinite: list[str] = []
        for key, value in values.items():
            plain = value.item() if hasattr(value, "item") else value
            if isinstance(plain, float) and not math.isfinite(plain):
                nonfinite.append(key)
                plain = None
            if not isinstance(plain, int | float | None):
                raise TypeError(f"Metric {key} must be a number or None, got {plain!r}.")
            record[key] = plain
        if nonfinite:
            log.warning("iteration %d: not finite: %s", iteration, ", ".join(nonfinite))
            record["nonfinite"] = nonfinite
        with failures.naming(self._path), self._path.open("ab") as file:
            file.write(jsonl.line(record).encode())
            file.flush()
            os.fsync(file.fileno())
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float)}
        del numbers["iteration"]
        for tracker in self._trackers:
            tracker.write(iteration, numbers)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in self._trackers:
            tracker.close()
