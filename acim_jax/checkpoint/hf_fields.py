"""Fields of a `config.json`, checked one by one: errors name file and field."""

from pathlib import Path
from typing import Any


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
