"""Length-prefixed JSON over pipes, between the executor and its fork servers.

JSON, never pickle: text that a program wrote passes through here.
"""

import json
import os
import select
import struct
import time
from typing import Any

_HEADER = struct.Struct("!I")


def send(fd: int, message: dict[str, Any]) -> None:
    """Writes one message. Raises `OSError` when the other side is gone."""
    # ASCII with escapes carries lone surrogates, which UTF-8 refuses.
    payload = json.dumps(message, ensure_ascii=True).encode("ascii")
    view = memoryview(_HEADER.pack(len(payload)) + payload)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int, deadline: float | None = None) -> dict[str, Any] | None:
    """Reads one message; None when the other side is gone.

    deadline: `time.monotonic()` value after which `TimeoutError` is raised; None waits forever.
    """
    header = _read_exactly(fd, _HEADER.size, deadline)
    if header is None:
        return None
    payload = _read_exactly(fd, _HEADER.unpack(header)[0], deadline)
    return None if payload is None else json.loads(payload)


def _read_exactly(fd: int, count: int, deadline: float | None) -> bytes | None:
    data = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(data) < count:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError("no answer within the deadline")
        chunk = os.read(fd, count - len(data))
        if not chunk:
            return None
        data += chunk
    return bytes(data)
