"""Frozen dataclasses from a `config_tree.Tree`, checked strictly, and back to plain values.

Works over any dataclass: nested dataclasses, `X | None`, `tuple[X, ...]` and `Mapping[str, X]`
are followed here, so that unknown fields are refused at every level with their line and the
nearest name; single values are checked by pydantic in strict mode (no text for numbers, no
numbers for booleans; whole numbers are accepted where a number is wanted).
"""

import dataclasses
import difflib
import enum
import json
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

import pydantic

from acim_jax.bad_input import BadInput
from acim_jax.config.tree import Tree

T = TypeVar("T")


def build(cls: type[T], tree: Tree, path: str = "") -> T:
    """`cls` from the mapping `tree`. Raises `BadInput`: place, field, what was needed, what came.

    path: the dotted name of this section in messages, empty at the top.
    """
    children = tree.children
    if children is None:
        raise _refusal(tree, path, f"expected a mapping of fields, got {describe(tree)}")
    annotations = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, cls)) if f.init}
    for key, child in children.items():
        if key not in fields:
            hint = _did_you_mean(key, list(fields))
            raise _refusal(child, join(path, key), f"unknown field; {hint}")
    for name, field in fields.items():
        if name not in children and not _has_default(field):
            raise _refusal(tree, join(path, name), "this field is required")
    values = {
        key: _convert(annotations[key], child, join(path, key)) for key, child in children.items()
    }
    try:
        return cls(**values)
    except BadInput:
        raise
    except ValueError as error:
        # Some sections name themselves in what they raise.
        section = "" if str(error).startswith(f"{path}.") else path
        options = [c.where for c in children.values() if c.where.startswith("--")]
        given = f" (given by option: {', '.join(options)})" if options else ""
        raise _refusal(tree, section, f"{error}{given}") from error


def plain(value: object) -> object:
    """Scalars, lists and mappings of `value`, ready for YAML; the inverse of `build`."""
    match value:
        case None | bool() | int() | float() | str() if not isinstance(value, enum.Enum):
            return value
        case enum.Enum():
            return plain(value.value)
        case os.PathLike():
            return os.fspath(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            return {
                f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init
            }
        case _:
            raise TypeError(f"A config cannot hold a {type(value).__name__}: {value!r}.")


def describe(tree: Tree) -> str:
    """What came, for a message: `the string "abc"`, `the number 3`, `a list`."""
    match tree.value:
        case None:
            return "nothing (null)"
        case bool():
            return "true" if tree.value else "false"
        case int() | float():
            return f"the number {tree.value}"
        case str():
            return f"the string {json.dumps(tree.value, ensure_ascii=False)}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _convert(annotation: Any, tree: Tree, path: str) -> Any:
    """The value of `tree` as `annotation` wants it; recurses where a dataclass may stand inside."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if dataclasses.is_dataclass(annotation):
        return build(typing.cast(type, annotation), tree, path)
    if origin in (Union, types.UnionType) and type(None) in arguments:
        if tree.value is None:
            return None
        rest = [one for one in arguments if one is not type(None)]
        if len(rest) == 1:
            return _convert(rest[0], tree, path)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        if tree.elements is None:
            raise _refusal(
                tree, path, f"expected a list of {_plural(arguments[0])}, got {describe(tree)}"
            )
        return tuple(
            _convert(arguments[0], child, f"{path}[{i}]") for i, child in enumerate(tree.elements)
        )
    if origin in (Mapping, dict):
        if tree.children is None:
            raise _refusal(tree, path, f"expected a mapping, got {describe(tree)}")
        return {
            k: _convert(arguments[1], child, join(path, k)) for k, child in tree.children.items()
        }
    return _leaf(annotation, tree, path)


def _leaf(annotation: Any, tree: Tree, path: str) -> Any:
    adapter = pydantic.TypeAdapter(
        annotation, config=pydantic.ConfigDict(strict=True, allow_inf_nan=False)
    )
    # JSON mode: strict about kinds, yet it knows that tuples, enums and paths are written as
    # lists and text.
    try:
        return adapter.validate_json(json.dumps(_untree(tree)))
    except pydantic.ValidationError as error:
        if tree.text is not None:
            try:
                return adapter.validate_json(json.dumps(tree.text))
            except pydantic.ValidationError:
                pass  # The refusal of the value as YAML reads it says more.
        expected = _expected(annotation)
        if expected is None:
            raise _refusal(tree, path, f"{_message(error)}, got {describe(tree)}") from error
        hint = ""
        if typing.get_origin(annotation) is Literal and isinstance(tree.value, str):
            near = difflib.get_close_matches(
                tree.value, [str(a) for a in typing.get_args(annotation)], 1
            )
            hint = f'; did you mean "{near[0]}"?' if near else ""
        raise _refusal(tree, path, f"expected {expected}, got {describe(tree)}{hint}") from error


def _untree(tree: Tree) -> object:
    if tree.children is not None:
        return {key: _untree(child) for key, child in tree.children.items()}
    if tree.elements is not None:
        return [_untree(child) for child in tree.elements]
    return tree.value


def _expected(annotation: Any) -> str | None:
    """The kind of value in words, or None where pydantic's own message says it better."""
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a string"}
    if annotation in names:
        return names[annotation]
    if typing.get_origin(annotation) is Literal:
        return "one of " + ", ".join(str(a) for a in typing.get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(str(a.value) for a in annotation)
    return None


def _plural(annotation: Any) -> str:
    names = {float: "numbers", int: "whole numbers", bool: "true or false", str: "strings"}
    return names.get(annotation, "values")


def _message(error: pydantic.ValidationError) -> str:
    text = error.errors(include_url=False)[0]["msg"]
    return text[:1].lower() + text[1:]


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    return (
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    )


def _did_you_mean(key: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, names, 1)
    return f'did you mean "{near[0]}"?' if near else f"the fields here are {', '.join(names)}"


def _refusal(tree: Tree, path: str, message: str) -> BadInput:
    named = tree.where.startswith("--") and tree.where[2:] == path
    return BadInput(
        f"{tree.where}: {message}" if named or not path else f"{tree.where}: {path}: {message}"
    )
