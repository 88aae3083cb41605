import os

import pytest

from acim_jax.environment.capture import Capture


def captured(data: bytes, limit: int, chunk: int, marker: bytes = b"") -> tuple[str, bool, bool]:
    """What a capture makes of `data` that arrives in pieces of `chunk` bytes."""
    read, write = os.pipe()
    capture = Capture(read, limit, marker)
    for start in range(0, len(data), chunk):
        os.write(write, data[start : start + chunk])
        capture.read()
    os.close(write)
    capture.drain()
    os.close(read)
    text, truncated = capture.text()
    return text, truncated, capture.marked


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
@pytest.mark.parametrize("text", ["abcdefghij" * 30, "äöü€😀" * 50, "a€" * 200])
def test_cut_text_does_not_depend_on_how_it_arrived(text: str, chunk: int) -> None:
    cut = len(text) - 20
    expected = f"{text[:10]}[{cut} characters cut]{text[-10:]}"
    assert captured(text.encode(), 20, chunk) == (expected, True, True)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_text_within_the_limit_is_whole(chunk: int) -> None:
    assert captured(("€" * 20).encode(), 20, chunk) == ("€" * 20, False, True)


def test_marker_is_taken_off_and_its_absence_seen() -> None:
    assert captured(b"\x01hello", 20, 100, b"\x01") == ("hello", False, True)
    assert captured(b"hello", 20, 100, b"\x01") == ("hello", False, False)
    assert captured(b"\x01\x01x", 20, 1, b"\x01") == ("\x01x", False, True)


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert captured(b"a\xff\xfeb", 20, 100)[0] == "a\ufffd\ufffdb"
