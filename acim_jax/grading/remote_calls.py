"""The program under test in a process of its own: calls come in, what they gave goes out, as data.

The text of this file is prepended to the program where programs run, so it uses the standard
library only. `answer_calls` performs a list of operations on a program and prints what each gave.
`run_with_input` runs a whole program that reads standard input.

An operation is `["call", target, arguments, named]`, `["get", target, name]` or
`["set", target, name, value]`. A target is `{"name": n}`, a global of the program, or
`{"result": i}`, what operation i gave. An answer is `{"value": v}` or `{"raised": type}`.
"""

import builtins
import decimal
import fractions
import itertools
import json
import numbers
import os
import sys
import types
from typing import Any

MAX_ITEMS = 10_000  # taken of an iterator

#: tag -> (types of values, value -> data, data -> value)
_TAGGED: dict[str, tuple[Any, Any, Any]] = {
    "fraction": (
        fractions.Fraction,
        lambda value: [value.numerator, value.denominator],
        lambda data: fractions.Fraction(*data),
    ),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "complex": (complex, lambda value: [value.real, value.imag], lambda data: complex(*data)),
    "bytes": ((bytes, bytearray), lambda value: bytes(value).hex(), bytes.fromhex),
    "range": (range, lambda value: [value.start, value.stop, value.step], lambda d: range(*d)),
}
_COLLECTIONS: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def encode(value: Any) -> Any:
    """`value` as JSON: exact built-in types, tagged where JSON has none; else an opaque object.

    Subclasses become their base, so that no method of the program's own takes part in a comparison.
    """
    for tag, (kinds, to_data, _) in _TAGGED.items():
        if isinstance(value, kinds):
            return {tag: to_data(value)}
    for tag, kind in _COLLECTIONS.items():
        if isinstance(value, kind):
            return {tag: [encode(item) for item in iter(value)]}
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
        case list():
            return [encode(item) for item in list.__iter__(value)]
        case dict():
            return {"dict": [[encode(k), encode(v)] for k, v in dict.items(value)]}
        case _ if hasattr(type(value), "encoded_target"):  # an object of `judging.py`
            return type(value).encoded_target(value)
        case type() if getattr(builtins, value.__name__, None) is value:
            return {"type": value.__name__}
        case _ if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
            return encode(value.tolist())
        case _ if hasattr(value, "__next__"):
            return {"iterator": [encode(item) for item in itertools.islice(value, MAX_ITEMS)]}
        case _:
            return {"opaque": bool(value)}


def decode(data: Any, resolve: Any) -> Any:
    """The inverse of `encode`. resolve: makes the object of a `result`, `name` or `opaque` tag."""
    if isinstance(data, list):
        return [decode(item, resolve) for item in data]
    if not isinstance(data, dict):
        return data
    ((tag, content),) = data.items()
    match tag:
        case "dict":
            return {decode(k, resolve): decode(v, resolve) for k, v in content}
        case "iterator":
            return iter(decode(content, resolve))
        case _ if tag in _COLLECTIONS:
            return _COLLECTIONS[tag](decode(content, resolve))
        case _ if tag in _TAGGED:
            return _TAGGED[tag][2](content)
        case "type" if isinstance(getattr(builtins, content, None), type):
            return getattr(builtins, content)
        case _:
            return resolve(tag, content)


def answer_calls(sources: list[str], operations: list[Any], mark: str) -> None:
    """Runs the sources as one module, then the operations; prints `mark` and each answer."""
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    output = sys.stdout
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (what it prints on the way)
    for source in sources:
        exec(compile(source, "<candidate>", "exec", dont_inherit=True), module.__dict__)
    results: list[Any] = []

    def resolve(tag: str, content: Any) -> Any:
        return results[content] if tag == "result" else module.__dict__[content]

    for kind, target, *rest in operations:
        result = None
        try:
            thing = decode(target, resolve)
            match kind:
                case "call":
                    arguments, named = decode(rest, resolve)
                    result = thing(*arguments, **named)
                case "get":
                    result = getattr(thing, rest[0])
                case _:
                    setattr(thing, rest[0], decode(rest[1], resolve))
            answer = {"value": encode(result)}
        except Exception as error:
            answer = {"raised": type(error).__name__}
        results.append(result)
        output.write(f"\n{mark}{json.dumps(answer)}\n")
        output.flush()


def run_with_input(code: str, text: str) -> None:
    """Runs a whole program as `__main__`, with `text` to be read from standard input."""
    with open("stdin", "w", encoding="utf-8", newline="") as file:
        file.write(text)
    source = os.open("stdin", os.O_RDONLY)
    os.dup2(source, 0)
    os.close(source)
    os.unlink("stdin")
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (the program's)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    exec(compile(code, "<program>", "exec", dont_inherit=True), main.__dict__)
