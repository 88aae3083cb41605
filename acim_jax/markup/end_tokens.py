"""The tokens that end a response, as a model folder states them."""

import json
from pathlib import Path
from typing import cast


def of(folder: Path, eos_id: int | None) -> tuple[int, ...]:
    """The tokenizer's end token and those of `generation_config.json`, ascending."""
    found: set[int] = set() if eos_id is None else {eos_id}
    if (file := folder / "generation_config.json").is_file():
        found |= _stated(file)
    if not found:
        raise ValueError(f"{folder}: the tokenizer states no end token (eos_token).")
    return tuple(sorted(found))


def _stated(file: Path) -> set[int]:
    """`eos_token_id` of a `generation_config.json`: none, an id, or a list of ids."""
    try:
        content: object = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON, or of UTF-8
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold one JSON object, got {type(content).__name__}.")
    if (stated := cast(dict[str, object], content).get("eos_token_id")) is None:
        return set()
    ids = cast(list[object], stated) if isinstance(stated, list) else [stated]
    if not all(type(one) is int and one >= 0 for one in ids):
        raise ValueError(
            f"{file}: eos_token_id must be a token's id or a list of ids, got {stated!r}."
        )
    return cast(set[int], set(ids))
