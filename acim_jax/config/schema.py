"""A section of a config from a `config.tree.Tree`, checked by pydantic, and back to plain values.

Pydantic finds every error at once and names the fields; here each gets its file and line, what was
expected and what came, and the nearest name.
"""

import difflib
import json
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar, cast

import pydantic
from pydantic_core import ErrorDetails

from acim_jax.bad_input import BadInput
from acim_jax.config import kinds
from acim_jax.config import tree as config_tree
from acim_jax.config.tree import Tree

T = TypeVar("T")

_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


class Refusal(NamedTuple):
    """One error: the place in a file or an option, the dotted field, and what is wrong."""

    where: str
    path: str
    message: str

    def __str__(self) -> str:
        named = not self.path or self.where == f"--{self.path}"
        return f"{self.where}: {self.message if named else f'{self.path}: {self.message}'}"


def build(cls: type[T], tree: Tree, path: str = "") -> T:
    """`cls` from the mapping `tree`. Raises `BadInput` with every error, one a line.

    path: the dotted name of this section in messages, empty at the top.
    """
    built, refusals = validate(cls, tree, path)
    if refusals:
        raise refused(refusals)
    return cast(T, built)


def validate(cls: type[T], tree: Tree, path: str = "") -> tuple[T | None, list[Refusal]]:
    """`cls` from `tree`, or None and why not."""
    try:
        # In JSON mode pydantic is strict about kinds, yet knows that tuples, enums and paths are
        # written as lists and text.
        return pydantic.TypeAdapter(cls).validate_json(json.dumps(tree.plain())), []
    except pydantic.ValidationError as error:
        errors = error.errors(include_url=False)
    written = tree
    for error in errors:
        written = _as_written(written, error)
    if written != tree:
        return validate(cls, written, path)
    found: dict[tuple[str, str], Refusal] = {}
    for error in errors:
        one = _refusal(cls, tree, path, error)
        found.setdefault((one.where, one.path), one)
    return None, list(found.values())


def refused(refusals: Sequence[Refusal]) -> BadInput:
    """The refusals as one error, in the order of the file."""

    def place(refusal: Refusal) -> tuple[str, int]:
        file, _, line = refusal.where.rpartition(":")
        return (file, int(line)) if line.isdecimal() else (refusal.where, 0)

    return BadInput("\n".join(map(str, sorted(refusals, key=place))))


def plain(value: object) -> object:
    """Scalars, lists and mappings of a section, ready for YAML; the inverse of `build`."""
    return pydantic.TypeAdapter(type(value)).dump_python(value, mode="json")


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


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Names the nearest of the known words; empty if none is near."""
    near = difflib.get_close_matches(word, known, 1)
    return f'did you mean "{near[0]}"?' if near else ""


def _refusal(cls: type, tree: Tree, path: str, error: ErrorDetails) -> Refusal:
    at, names = tree.find(error["loc"])
    where = at.where
    field = _join(path, names)
    if error["type"] == "missing":
        return Refusal(where, _join(path, error["loc"]), "this field is required")
    if error["type"] == "unexpected_keyword_argument":
        known = kinds.fields(kinds.at(kinds.of(cls), names[:-1]))
        near = did_you_mean(str(names[-1]), known) or f"the fields here are {', '.join(known)}"
        return Refusal(where, field, f"unknown field; {near}")
    if error["type"] == "value_error":
        message = str(error.get("ctx", {})["error"])
        if at.children is not None:
            where, message = _blamed(at, message)
        return Refusal(where, field, message)
    if error["type"] in _BOUNDS:
        bound, words = _BOUNDS[error["type"]]
        limit = error.get("ctx", {})[bound]
        return Refusal(where, field, f"must be {words} {limit:g}, got {describe(at)}")
    kind = kinds.at(kinds.of(cls), names)
    hint = ""
    if error["type"] in ("literal_error", "enum") and isinstance(at.value, str):
        near = did_you_mean(at.value, kinds.choices(kind))
        hint = f"; {near}" if near else ""
    expected = kinds.words(kind, article=True)
    return Refusal(where, field, f"expected {expected}, got {describe(at)}{hint}")


def _blamed(section: Tree, message: str) -> tuple[str, str]:
    """The place of the field that a section's own check names first, and the message, with the
    options that set other fields of the section."""
    name = re.match(r"[\w.]*\w", message)
    field, _ = section.find(name[0].split(".") if name else [])
    options = [
        leaf.where
        for leaf in section.leaves()
        if leaf.where.startswith("--") and leaf.where != field.where
    ]
    given = f" (given by option: {', '.join(options)})" if options else ""
    return field.where, f"{message}{given}"


def _as_written(tree: Tree, error: ErrorDetails) -> Tree:
    """The tree with an option's text as it was typed where text is wanted, and as a list where a
    list is: `--run.name 1e-5`, `--improve.buckets 64,128`."""
    leaf, names = tree.find(error["loc"])
    if leaf.text is None:
        return tree
    match error["type"]:
        case "string_type":
            value: object = leaf.text
        case "tuple_type" if leaf.children is None:
            value = config_tree.parse_option(leaf.where.removeprefix("--"), f"[{leaf.text}]").value
        case _:
            return tree
    return config_tree.place(tree, [str(name) for name in names], Tree(value, leaf.where))


def _join(path: str, names: Sequence[str | int]) -> str:
    for name in names:
        path += f"[{name}]" if isinstance(name, int) else f".{name}" if path else name
    return path
