"""Tools: functions of the user's own that programs may call (docs/executor.md).

Their files are read and parsed here, never run: the fork servers run them (`preload.py`), and the
functions are called by programs, in their processes and with their rights.
"""

import ast
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acim_jax import own_code
from acim_jax.environment.protocol import ToolFile

_JSON_TYPES = {
    "str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array",
    "dict": "object",
}  # fmt: skip
_EXPECTED = 'def lookup(city: str) -> float:\n      """What it gives, for the model."""'


def files(specs: Sequence[str]) -> tuple[ToolFile, ...]:
    """The files that hold the tools `specs`, ready to be sent to a server.

    FileNotFoundError or ValueError, naming the setting, for a tool that is not there, and for one
    that is no plain function with annotated parameters and a docstring: the model knows no more.
    """
    sources: dict[Path, str] = {}
    names: dict[Path, list[str]] = {}
    for spec in specs:
        definition, file, content = _definition(spec)
        sources[file] = importlib.util.decode_source(content)
        names.setdefault(file, []).append(definition.name)
    return tuple(ToolFile(file.name, sources[file], tuple(names[file])) for file in sources)


def listed(specs: Sequence[str]) -> str:
    """What a prompt says of the tools: signatures and docstrings; empty without tools."""
    if not specs:
        return ""
    stubs: list[str] = []
    for spec in specs:
        definition = _definition(spec)[0]
        definition.body, definition.decorator_list = definition.body[:1], []
        stubs.append(ast.unparse(definition))
    return "\n\n".join(["Programs can call these functions, without importing them:", *stubs])


def schemas(specs: Sequence[str]) -> tuple[str, ...]:
    """Each tool as JSON, in the form that chat templates take; parameters of other types than
    JSON's have none."""
    return tuple(json.dumps(_schema(_definition(spec)[0])) for spec in specs)


def _schema(definition: ast.FunctionDef) -> dict[str, Any]:
    arguments = definition.args
    named = [*arguments.args, *arguments.kwonlyargs]
    optional = {one.arg for one in arguments.args[len(arguments.args) - len(arguments.defaults) :]}
    optional |= {
        one.arg for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    }  # fmt: skip
    return {
        "type": "function",
        "function": {
            "name": definition.name,
            "description": ast.get_docstring(definition),
            "parameters": {
                "type": "object",
                "properties": {one.arg: _type(one.annotation) for one in named},
                "required": [one.arg for one in named if one.arg not in optional],
            },
        },
    }


def _type(annotation: ast.expr | None) -> dict[str, str]:
    if isinstance(annotation, ast.Subscript):  # list[str]
        annotation = annotation.value
    name = annotation.id if isinstance(annotation, ast.Name) else ""
    return {"type": _JSON_TYPES[name]} if name in _JSON_TYPES else {}


def _definition(spec: str) -> tuple[ast.FunctionDef, Path, bytes]:
    """A tool's definition, its file, and what that holds."""
    try:
        file, content = own_code.read(spec)
    except (ValueError, OSError) as error:
        raise type(error)(f"executor.tools: {error}") from error
    try:
        tree = ast.parse(content, str(file))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"executor.tools: {own_code.raised(error, file)}") from error
    name = spec.rpartition(":")[2]
    found = [one for one in tree.body if getattr(one, "name", None) == name]
    node = found[-1] if found else None
    if (wrong := _wrong(node)) or not isinstance(node, ast.FunctionDef):
        raise ValueError(f"executor.tools: {spec} {wrong}; needed is\n  {_EXPECTED}")
    return node, file, content


def _wrong(node: ast.stmt | None) -> str:
    """Why a definition is no tool; empty for one that is."""
    if not isinstance(node, ast.FunctionDef):
        return "is no plain function at the top of its file"
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.posonlyargs:
        return "has parameters without a name to call them by"
    for one in (*arguments.args, *arguments.kwonlyargs):
        if one.annotation is None:
            return f"has the signature ({ast.unparse(arguments)}), where {one.arg} has no type"
    return "" if ast.get_docstring(node) else "has no docstring"
