"""JSON Lines files, UTF-8, `.jsonl` or `.jsonl.gz`; written whole or not at all."""

import contextlib
import gzip
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path


def read(path: str | Path) -> list[tuple[int, dict[str, object]]]:
    """All rows with their line numbers (from 1); empty lines are passed over.

    FileNotFoundError if there is no such file; ValueError, beginning with `FILE:LINE:`, for a line
    that is not UTF-8, not JSON, or not an object, and for a broken gzip stream.
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
    rows = enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1)
    return [(number, _parse(line, path, number)) for number, line in rows if line.strip()]


def write(path: str | Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Writes one object a line; `path` appears (or is replaced) only when all rows are written.

    A `.gz` ending compresses. Floats that JSON lacks (nan, inf) are refused with a ValueError.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as raw, contextlib.ExitStack() as stack:
            file: io.BufferedIOBase = raw
            if path.suffix == ".gz":
                # No time stamp and no file name inside: equal rows give equal bytes.
                file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
            for row in rows:
                line = json.dumps(row, ensure_ascii=False, allow_nan=False)
                file.write(line.encode() + b"\n")
        _allow_reading(temporary)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _parse(line: bytes, path: Path, number: int) -> dict[str, object]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}:{number}: not UTF-8: {error.reason}.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}:{number}: not a JSON object: {error}.") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path}:{number}: needed a JSON object, got {type(row).__name__}.")
    return row


def _allow_reading(temporary: str) -> None:
    """mkstemp makes files private; give them the mode that a plain `open` would."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(temporary, 0o666 & ~mask)
