"""The kinds of a config's fields in words, for messages and for the list of fields."""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import annotated_types

_NAMES = {float: "number", int: "whole number", str: "string", Path: "path"}
_BOUNDS = {
    annotated_types.Ge: ("ge", "≥"),
    annotated_types.Gt: ("gt", ">"),
    annotated_types.Le: ("le", "≤"),
    annotated_types.Lt: ("lt", "<"),
}


def at(annotation: Any, names: Sequence[str | int]) -> Any:
    """The annotation of the field that `names` lead to from a section or another annotation."""
    for name in names:
        annotation = _bare(annotation)
        arguments = typing.get_args(annotation)
        if dataclasses.is_dataclass(annotation):
            annotation = typing.get_type_hints(annotation, include_extras=True)[str(name)]
        elif typing.get_origin(annotation) is tuple:
            annotation = arguments[0 if arguments[-1] is Ellipsis else int(name)]
        else:
            annotation = arguments[1]
    return annotation


def fields(annotation: Any) -> list[str]:
    """The names of a section's fields."""
    return [field.name for field in dataclasses.fields(_bare(annotation))]


def section_of(annotation: Any) -> type | None:
    """The section that a field holds, if it holds one."""
    bare = _bare(annotation)
    return bare if isinstance(bare, type) and dataclasses.is_dataclass(bare) else None


def choices(annotation: Any) -> list[str]:
    """The values of a `Literal` or an enum."""
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, enum.Enum):
        return [str(one.value) for one in bare]
    return [str(one) for one in typing.get_args(bare)]


def words(
    annotation: Any, *, article: bool = False, plural: bool = False, bounds: bool = False
) -> str:
    """`whole number`, `list of strings`, `one of em, rl, sft`, `number or null`.

    article: for a sentence, and then without `or null`. bounds: with limits, like `≥ 1`.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        limits = _limits(arguments[1:]) if bounds else ""
        kind = words(arguments[0], article=article, plural=plural, bounds=bounds)
        return kind + limits
    if origin in (Union, types.UnionType):
        rest = [one for one in arguments if one is not _NULL]
        options = [words(one, article=article, bounds=bounds) for one in rest]
        null = ["null"] if len(rest) < len(arguments) and not article else []
        return " or ".join([*options, *null])
    if annotation is bool:
        return "true or false"
    if origin is Literal or (isinstance(annotation, type) and issubclass(annotation, enum.Enum)):
        return f"one of {', '.join(choices(annotation))}"
    if origin is tuple:
        of = words(arguments[0], plural=True, bounds=bounds)
        text = f"list of {of if arguments[-1] is Ellipsis else f'{len(arguments)} values'}"
    elif origin in (Mapping, dict):
        text = "mapping"
    elif section_of(annotation) is not None:
        text = "mapping of fields"
    else:
        text = _NAMES[annotation] + ("s" if plural else "")
    return f"a {text}" if article else text


_NULL = type(None)


def _bare(annotation: Any) -> Any:
    """Without `Annotated` and `| None`."""
    if typing.get_origin(annotation) is Annotated:
        return _bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (Union, types.UnionType):
        rest = [one for one in typing.get_args(annotation) if one is not _NULL]
        return _bare(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _limits(metadata: Sequence[Any]) -> str:
    found = [
        f"{sign} {getattr(one, name):g}"
        for one in metadata
        for kind, (name, sign) in _BOUNDS.items()
        if isinstance(one, kind)
    ]
    return f" {', '.join(found)}" if found else ""
