"""TensorBoard's event file, written at once and by nobody else.

`tensorboardX.SummaryWriter` hands its events to a thread, and waits for it for ever once that has
died of a full disk.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from acim_jax.files import failures


class EventFile:
    """A new `events.*` in a folder. An `OSError` names `FOLDER/events`."""

    def __init__(self, folder: Path, *, first: int) -> None:
        """first: TensorBoard drops the points of earlier files from this step on."""
        self._named = folder / "events"
        with failures.naming(self._named):
            self._writer = event_file_writer.EventsWriter(str(self._named))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(first, session_log=start)

    def write(self, step: int, numbers: Mapping[str, int | float]) -> None:
        """A point of every number; on the disk when this returns."""
        for name, number in numbers.items():
            self._add(step, summary=summary.scalar(name, number))
        with failures.naming(self._named):
            self._writer.flush()

    def close(self) -> None:
        with failures.naming(self._named):
            self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, **content)
        with failures.naming(self._named):
            self._writer.write_event(event)
