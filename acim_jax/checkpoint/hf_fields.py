"""JSON files of Hugging Face folders, and their fields one by one: errors name file and field."""

import dataclasses
import json
import math
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


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of an object in `file`; null is as good as left out."""

    content: Mapping[str, Any]
    file: Path

    def get(self, field: str, default: Any = None) -> Any:
        value = self.content.get(field)
        return default if value is None else value

    def whole(self, field: str, default: int | None = None) -> int:
        """A positive whole number, small enough for a size."""
        value = self.get(field, default)
        if type(value) is not int or value < 1:
            raise self._error(field, "a positive whole number", value)
        if value >= 2**31:
            raise self._error(field, "below 2^31", value)
        return value

    def real(self, field: str, default: float | None = None) -> float:
        """A positive number."""
        value = self.get(field, default)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise self._error(field, "a positive number", value)
        return float(value)

    def flag(self, field: str, default: bool = False) -> bool:
        """true or false."""
        value = self.get(field, default)
        if not isinstance(value, bool):
            raise self._error(field, "true or false", value)
        return value

    def token_ids(self, field: str) -> int | list[int] | None:
        """A token's id or a list of them; negative ones, which some files state, mean none."""
        value = self.get(field)
        ids: list[Any] = value if isinstance(value, list) else [value]
        if value is not None and not all(type(one) is int for one in ids):
            raise self._error(field, "a token's id or a list of ids", value)
        return value

    def refuse_unsupported(self, supported: Mapping[str, tuple[object, ...]]) -> None:
        """ValueError for a field that is stated and is not one of its `supported` values."""
        for field, values in supported.items():
            value = self.get(field)
            if value is not None and value not in values:
                raise ValueError(
                    f"{self.file}: {field} = {value!r} is not supported; supported: "
                    f"{' or '.join(map(repr, values)) or 'leaving it out'}."
                )

    def _error(self, field: str, needed: str, value: object) -> ValueError:
        return ValueError(f"{self.file}: {field} must be {needed}, got {value!r}.")
