"""`metrics.jsonl`, the file of a run's numbers. A mean over nothing is null there, never 0."""

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from acim_jax.files import atomic, jsonl

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


def truncate_after(path: Path, iteration: int) -> int:
    """Cuts what came after `iteration`, a half-written last line included; returns how many lines.

    A missing file counts as empty.
    """
    if not path.exists():
        return 0
    records = read(path)
    kept = [record for record in records if record["iteration"] <= iteration]
    atomic.write_text(path, "".join(jsonl.line(record) for record in kept))
    return len(records) - len(kept)


class MetricsWriter:
    """Appends one JSON object per iteration to `metrics.jsonl`, mirrored to TensorBoard.

    Each line is on the disk when `write` returns. Use as a context manager.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = True, after: int | None = None) -> None:
        """folder: of the run. after: the iteration a resumed run goes on from; later lines and
        TensorBoard points are dropped."""
        path = folder / "metrics.jsonl"
        if after is not None:
            truncate_after(path, after)
        self._file = path.open("a", encoding="utf-8")
        self._board = None
        if tensorboard:
            # Its import takes a second that runs without it need not pay.
            import tensorboardX

            purge = None if after is None else after + 1
            self._board = tensorboardX.SummaryWriter(
                str(folder), purge_step=purge, write_to_disk=True
            )

    def write(self, iteration: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """One line: `iteration` and `values` (numbers, numpy or jax scalars, None).

        Returns the line as written. NaN and infinities have no place in JSON: they become null,
        are named in the line's `nonfinite`, and are warned of.
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
        self._file.write(jsonl.line(record))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._mirror(record)
        return record

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _mirror(self, record: Mapping[str, Any]) -> None:
        if self._board is None:
            return
        for key, value in record.items():
            if key != "iteration" and isinstance(value, int | float):
                self._board.add_scalar(key, value, record["iteration"])
        self._board.flush()
