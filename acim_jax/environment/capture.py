"""Bounded capture of one output pipe: head and tail are kept, the middle is counted."""

import os

_CHUNK = 1 << 16
_DRAIN_READS = 32
#: Bytes that continue a UTF-8 character; all others begin one.
_CONTINUATION = bytes(range(0x80, 0xC0))


class Capture:
    """Reads `fd` without ever holding much more than what `limit` characters can take.

    marker: bytes that must come first; they are removed, and `marked` tells whether they came.
    """

    def __init__(self, fd: int, limit: int, marker: bytes = b"") -> None:
        os.set_blocking(fd, False)
        self.fd, self.marked = fd, not marker
        self._marker, self._limit, self._half = marker, limit, max(limit // 2, 1)
        # A character takes up to 4 bytes; one more keeps a cut inside a character out of the text.
        self._room = 4 * (self._half + 1)
        self._head, self._tail, self._dropped_chars = bytearray(), bytearray(), 0

    def read(self) -> bool:
        """Takes what is there; False when the pipe is empty or closed."""
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return False
        if not self.marked and chunk.startswith(self._marker):
            self.marked = True
            self._keep(chunk[len(self._marker) :])
        else:
            self._keep(chunk)
        return bool(chunk)

    def drain(self) -> None:
        """Takes what is left in the pipe after its writers were killed, within a bound."""
        for _ in range(_DRAIN_READS):
            if not self.read():
                return

    def text(self) -> tuple[str, bool]:
        """What was written, cut in the middle if it is longer than the limit; whether it was."""
        if self._dropped_chars:
            head, tail = (part.decode("utf-8", "replace") for part in (self._head, self._tail))
            count = self._dropped_chars + _count_chars(self._head + self._tail)
        else:
            head = tail = (self._head + self._tail).decode("utf-8", "replace")
            count = len(head)
            if count <= self._limit:
                return head, False
        cut = count - 2 * self._half
        return f"{head[: self._half]}[{cut} characters cut]{tail[-self._half :]}", True

    def _keep(self, chunk: bytes) -> None:
        space = self._room - len(self._head)
        self._head += chunk[:space]
        self._tail += chunk[space:]
        # Trimmed at twice the room, so that many small writes do not each copy the tail.
        if len(self._tail) > 2 * self._room:
            self._dropped_chars += _count_chars(self._tail[: -self._room])
            del self._tail[: -self._room]


def _count_chars(data: bytes | bytearray) -> int:
    return len(data.translate(None, _CONTINUATION))
