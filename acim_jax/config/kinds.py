"""The kinds of a config's fields in words, for messages and for the list of fields.

A kind is the JSON schema that pydantic makes of a section or of a field.
"""

import functools
from collections.abc import Sequence
from typing import Any, cast

import pydantic

Kind = dict[str, Any]

_NAMES = {"number": "number", "integer": "whole number", "string": "string", "path": "path"}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_NULL = {"type": "null"}


@functools.cache
def of(section: type) -> Kind:
    """The kind of a section, with those of the sections in it in their places."""
    kind = pydantic.TypeAdapter(section).json_schema()
    definitions = kind.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(one) for one in cast("list[Any]", part)]
        if not isinstance(part, dict):
            return part
        fields = cast("Kind", part)
        name = fields.get("$ref", "").rpartition("/")[2]
        fields = {**definitions.get(name, {}), **fields}
        return {key: resolved(value) for key, value in fields.items() if key != "$ref"}

    return resolved(kind)


def at(kind: Kind, names: Sequence[str | int]) -> Kind:
    """The kind of the field that `names` lead to from a section or another field."""
    for name in names:
        match without_null(kind):
            case {"properties": inner} | {"prefixItems": inner}:
                kind = inner[name]
            case {"items": inner} | {"additionalProperties": inner}:
                kind = inner
            case _:
                raise KeyError(name)
    return kind


def without_null(kind: Kind) -> Kind:
    """The other kind of a field that may be null."""
    rest = [one for one in kind.get("anyOf", ()) if one != _NULL]
    return rest[0] if len(rest) == 1 else kind


def is_section(kind: Kind) -> bool:
    return "properties" in kind


def fields(kind: Kind) -> list[str]:
    """The names of a section's fields."""
    return list(without_null(kind)["properties"])


def choices(kind: Kind) -> list[str]:
    """The values of a `Literal` or an enum."""
    kind = without_null(kind)
    return [str(one) for one in kind.get("enum", [kind.get("const")])]


def words(kind: Kind, *, article: bool = False, plural: bool = False, bounds: bool = False) -> str:
    """`whole number`, `list of strings`, `one of em, rl, sft`, `number or null`.

    article: for a sentence, and then without `or null`. bounds: with limits, like `≥ 1`.
    """
    if "anyOf" in kind:
        rest = [one for one in kind["anyOf"] if one != _NULL]
        options = [words(one, article=article, bounds=bounds) for one in rest]
        null = ["null"] if len(rest) < len(kind["anyOf"]) and not article else []
        return " or ".join([*options, *null])
    if "enum" in kind or "const" in kind:
        return f"one of {', '.join(choices(kind))}"
    match kind["type"]:
        case "boolean":
            return "true or false"
        case "array" if "items" in kind:
            text = f"list of {words(kind['items'], plural=True, bounds=bounds)}"
        case "array":
            text = f"list of {len(kind['prefixItems'])} values"
        case "object":
            text = "mapping" + ("s" if plural else "") + (" of fields" if is_section(kind) else "")
        case scalar:
            text = _NAMES[kind.get("format", scalar)] + ("s" if plural else "")
    limits = [f"{sign} {kind[name]:g}" for name, sign in _BOUNDS.items() if bounds and name in kind]
    return f"{'a ' if article else ''}{text}{' ' if limits else ''}{', '.join(limits)}"
