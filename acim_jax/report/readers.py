"""The small readers under the report: JSON values as they may come, numbered files in order."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path


def mapping(value: object) -> Mapping[str, object]:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: object) -> float | None:
    """A finite JSON number as a float, else None (null, NaN, text, true)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def text(path: Path) -> str:
    """A text file, '' where there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def read_object(path: Path) -> dict[str, object]:
    """A JSON file that holds one object."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}.")
    return content


def read_json(path: Path) -> object:
    """Any JSON file; a malformed one is a ValueError with its line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not valid JSON: {error.msg}.") from error


def iteration_files(folder: Path) -> list[tuple[int, Path]]:
    """`iteration_0001.jsonl` and its like (also `.gz`), in order, with their numbers."""
    found = ((re.match(r"iteration_(\d+)\.jsonl", p.name), p) for p in folder.glob("iteration_*"))
    return sorted((int(match[1]), path) for match, path in found if match)
