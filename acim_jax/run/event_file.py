"""TensorBoard's event file, written at once and by nobody else.

`tensorboardX.SummaryWriter` hands its events to a thread, and waits for it for ever once that has
died of a full disk.
"""

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import record_writer, summary
from tensorboardX.proto import event_pb2 as _event_pb2

from acim_jax.files import failures

#: Its classes are made when it is imported, which no type checker sees.
event_pb2: Any = _event_pb2
_START = event_pb2.SessionLog(status=event_pb2.SessionLog.START)


class EventFile:
    """A new `events.*` in a folder. An `OSError` names `FOLDER/events`."""

    def __init__(self, folder: Path, *, first: int) -> None:
        """first: TensorBoard drops the points of earlier files from this step on."""
        self._named = folder / "events"
        file = f"{self._named}.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        with failures.naming(self._named):
            self._records = record_writer.RecordWriter(file)
        self._add(0, file_version="brain.Event:2")
        self._add(first, session_log=_START)

    def write(self, step: int, numbers: Mapping[str, int | float]) -> None:
        """A point of every number; on the disk when this returns."""
        for name, number in numbers.items():
            self._add(step, summary=summary.scalar(name, number))
        with failures.naming(self._named):
            self._records.flush()

    def close(self) -> None:
        with failures.naming(self._named):
            self._records.close()

    def _add(self, step: int, **content: Any) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, **content)
        with failures.naming(self._named):
            self._records.write(event.SerializeToString())
