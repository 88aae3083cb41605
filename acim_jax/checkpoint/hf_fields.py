"""JSON files of Hugging Face folders, and their fields one by one: errors name file and field."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_json(file: Path) -> dict[str, Any]:
    """The object of a JSON file; FileNotFoundError or ValueError name the file and line."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: a Hugging Face model folder was expected.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold one JSON object, got {type(content).__name__}.")
    return content


def write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def refuse_unsupported(
    content: dict[str, Any], supported: Mapping[str, tuple[object, ...]], file: Path
) -> None:
    """ValueError for a field that is neither left out, nor null, nor one of its `supported`."""
    for field, values in supported.items():
        if content.get(field) is not None and content[field] not in values:
            raise ValueError(
                f"{file}: {field} = {content[field]!r} is not supported; supported: "
                f"{' or '.join(map(repr, values)) or 'leaving it out'}."
            )


def whole(content: dict[str, Any], field: str, file: Path, default: int | None = None) -> int:
    """A positive whole number; `default` where it is left out or null."""
    value = default if content.get(field) is None else content[field]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{file}: {field} must be a positive whole number, got {value!r}.")
    return value


def real(content: dict[str, Any], field: str, file: Path, default: float | None = None) -> float:
    """A positive number; `default` where it is left out or null."""
    value = default if content.get(field) is None else content[field]
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value < float("inf")
    ):
        raise ValueError(f"{file}: {field} must be a positive number, got {value!r}.")
    return float(value)


def optional_real(content: dict[str, Any], field: str, file: Path) -> float | None:
    """A positive number, or None where it is left out or null."""
    return None if content.get(field) is None else real(content, field, file)


def flag(content: dict[str, Any], field: str, file: Path, default: bool = False) -> bool:
    """true or false; `default` where it is left out or null."""
    value = default if content.get(field) is None else content[field]
    if not isinstance(value, bool):
        raise ValueError(f"{file}: {field} must be true or false, got {value!r}.")
    return value
