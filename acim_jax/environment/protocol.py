"""What the executor and its fork servers say to each other: length-prefixed JSON over pipes.

JSON, never pickle: text that a program wrote passes through here.
"""

import dataclasses
import json
import os
import select
import struct
import time
from typing import Any, NamedTuple

_HEADER = struct.Struct("!I")


class ToolFile(NamedTuple):
    """A file of tools: its name in tracebacks, its source, and the functions that programs see."""

    name: str
    source: str
    functions: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Job:
    """What a fork server is started for: modules that it loads, a function that its children call.

    function: `module:name` of this package. Each request calls it once, in a fresh confined child,
    with arguments that are JSON. It returns the child's exit code; what it prints is captured.
    modules: top-level modules that the server loads. Children may import these and the standard
    library, nothing else: this package is hidden from them, too.
    warm_up: `module:name`, called once in the server, so that children inherit filled caches.
    tools: files that the server runs once; children have their functions as built-in names.
    """

    function: str
    modules: tuple[str, ...] = ()
    warm_up: str = ""
    tools: tuple[ToolFile, ...] = ()


def send(fd: int, message: dict[str, Any]) -> None:
    """Writes one message. Raises `OSError` when the other side is gone."""
    # ASCII with escapes carries lone surrogates, which UTF-8 refuses.
    payload = json.dumps(message, ensure_ascii=True).encode("ascii")
    view = memoryview(_HEADER.pack(len(payload)) + payload)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int, deadline: float | None = None) -> dict[str, Any] | None:
    """Reads one message; None when the other side is gone. Raises `TimeoutError` at `deadline`."""
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
