"""JSON Lines files: one object a line, UTF-8, `.jsonl` or `.jsonl.gz`."""

import contextlib
import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, cast

from acim_jax.files import atomic


def read(path: str | Path, *, growing: bool = False) -> list[tuple[int, dict[str, object]]]:
    """All records with their line numbers (from 1). Empty lines are skipped.

    growing: the file is appended to, so a last line without a newline was cut off by a crash; it
    is left out. FileNotFoundError if there is no such file. ValueError, beginning with
    `FILE:LINE:`, for a line that is not UTF-8, not JSON, or not an object, and for a broken gzip
    stream.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}; needed: a .jsonl or .jsonl.gz file.")
    raw = path.read_bytes()
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, ValueError) as error:
            raise ValueError(f"{path} is not a whole gzip file: {error}.") from error
    lines = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    numbered = enumerate(lines[:-1] if growing else lines, start=1)
    return [(number, _parse(line, path, number)) for number, line in numbered if line.strip()]


def write(path: str | Path, records: Iterable[Mapping[str, object]]) -> None:
    """Writes a file whole or not at all; a `.gz` ending compresses. ValueError as in `line`."""
    path = Path(path)
    with atomic.replacing(path) as raw, contextlib.ExitStack() as stack:
        file: IO[bytes] = raw
        if path.suffix == ".gz":
            # No time stamp and no file name inside: equal records give equal bytes.
            file = cast(
                IO[bytes], stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
            )
        for record in records:
            file.write(line(record).encode())


def line(record: Mapping[str, object]) -> str:
    """A record as a line with its newline. ValueError for floats that JSON lacks (nan, inf)."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def _parse(content: bytes, path: Path, number: int) -> dict[str, object]:
    try:
        record: object = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}:{number}: not UTF-8: {error.reason}.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}:{number}: not a JSON object: {error}.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path}:{number}: needed a JSON object, got {type(record).__name__}.")
    return cast(dict[str, object], record)
