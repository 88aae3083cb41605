"""The file a run's numbers are written to. A mean over nothing is null there, never 0."""

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from acim_jax.files import atomic

log = logging.getLogger(__name__)


def read(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a `metrics.jsonl`. Raises `ValueError` for a malformed line.

    A last line without its newline was cut off by a crash and is left out.
    """
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: not a JSON object: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get("iteration"), int):
            raise ValueError(f"{path}:{number}: needed an object with a whole 'iteration'.")
        for key, value in row.items():
            if key != "nonfinite" and not isinstance(value, int | float | None):
                raise ValueError(f"{path}:{number}: {key!r} must be a number or null.")
        rows.append(row)
    return rows


def truncate_after(path: Path, iteration: int) -> int:
    """Cuts what came after `iteration`, a half-written last line included; returns how many lines.

    A missing file counts as empty.
    """
    if not path.exists():
        return 0
    rows = read(path)
    kept = [row for row in rows if row["iteration"] <= iteration]
    atomic.write_text(path, "".join(_line(row) for row in kept))
    return len(rows) - len(kept)


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
        row: dict[str, Any] = {"iteration": iteration}
        nonfinite: list[str] = []
        for key, value in values.items():
            plain = value.item() if hasattr(value, "item") else value
            if isinstance(plain, float) and not math.isfinite(plain):
                nonfinite.append(key)
                plain = None
            if not isinstance(plain, int | float | None):
                raise TypeError(f"Metric {key} must be a number or None, got {plain!r}.")
            row[key] = plain
        if nonfinite:
            log.warning("iteration %d: not finite: %s", iteration, ", ".join(nonfinite))
            row["nonfinite"] = nonfinite
        self._file.write(_line(row))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._mirror(row)
        return row

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

    def _mirror(self, row: Mapping[str, Any]) -> None:
        if self._board is None:
            return
        for key, value in row.items():
            if key != "iteration" and isinstance(value, int | float):
                self._board.add_scalar(key, value, row["iteration"])
        self._board.flush()


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
