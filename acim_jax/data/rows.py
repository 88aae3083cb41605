"""One row of a problem file, checked field by field, becomes a `Problem`."""

import json
from collections.abc import Mapping
from typing import cast

from acim_jax.records import InputOutput, Kind, Problem

FIELDS = (
    "id",
    "problem",
    "answer",
    "kind",
    "tests",
    "test_setup",
    "entry_point",
    "subject",
    "level",
    "source",
    "pass_rates",
)

Row = Mapping[str, object]


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Refuses a field mapping (our name -> the name in the rows) that names no field of ours, or
    reads one column twice."""
    for field in mapping:
        if field not in FIELDS:
            raise ValueError(
                f"Problems have no field {field!r} to map {mapping[field]!r} to; they have "
                f"{', '.join(FIELDS)}."
            )
    if len(set(mapping.values())) < len(mapping):
        raise ValueError(f"The field mapping reads one column twice: {dict(mapping)}.")


def check_text(row: Row, where: str) -> None:
    """Refuses half a surrogate pair, which a JSON escape can spell and UTF-8 cannot."""
    for name, value in row.items():
        try:
            json.dumps([name, value], ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{where}: {name!r} holds half a surrogate pair.") from None


def to_problem(row: Row, where: str, mapping: Mapping[str, str]) -> Problem:
    """The row as a record; ValueError naming `where` and the field if one is missing or of another
    type. A row with tests is a code problem unless it says otherwise; null is as good as absent;
    whole numbers are taken for `id`, `answer` and `level`. What is not ours goes to `extra`."""
    check_text(row, where)
    names = {field: mapping.get(field, field) for field in FIELDS}
    taken = set(names.values())
    tests = _tests(row, names["tests"], where)
    kind = _kind(row, names["kind"], where, "code" if tests else "math")
    if kind == "code" and not tests:
        raise ValueError(f"{where}: a code problem needs {names['tests']}, a list of assert lines.")
    question = _text(row, names["problem"], where)
    if not question.strip():
        raise ValueError(f"{where}: {names['problem']} is empty.")
    answer = _text(row, names["answer"], where, default=None if kind == "math" else "", whole=True)
    return Problem(
        id=_text(row, names["id"], where, whole=True),
        question=question,
        answer=answer,
        kind=kind,
        source=_text(row, names["source"], where, default=""),
        subject=_text(row, names["subject"], where, default=""),
        level=_text(row, names["level"], where, default="", whole=True),
        pass_rates=_pass_rates(row, names["pass_rates"], where),
        tests=tests,
        test_setup=_text(row, names["test_setup"], where, default=""),
        entry_point=_text(row, names["entry_point"], where, default=""),
        extra={name: value for name, value in row.items() if name not in taken},
    )


def _text(
    row: Row, name: str, where: str, *, default: str | None = None, whole: bool = False
) -> str:
    """A string field; `default` None makes it required, `whole` lets an integer stand for one."""
    value = row.get(name)
    if value is None:
        if default is not None:
            return default
        there = ", ".join(sorted(row)) or "nothing"
        raise ValueError(f"{where}: the field {name!r} is missing; the row has {there}.")
    if whole and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{where}: {name} must be a string, got {type(value).__name__}.")
    return value


def _kind(row: Row, name: str, where: str, default: Kind) -> Kind:
    match row.get(name):
        case None:
            return default
        case "math":
            return "math"
        case "code":
            return "code"
        case value:
            raise ValueError(f"{where}: {name} must be 'math' or 'code', got {value!r}.")


def _tests(row: Row, name: str, where: str) -> tuple[str | InputOutput, ...]:
    value = row.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"{where}: {name} must be a list, got {type(value).__name__}.")
    tests: list[str | InputOutput] = []
    for index, test in enumerate(cast(list[object], value)):
        if isinstance(test, dict):
            pair = cast(dict[str, object], test)
            stdin, stdout = pair.get("input"), pair.get("output")
            if isinstance(stdin, str) and isinstance(stdout, str):
                tests.append(InputOutput(stdin, stdout))
                continue
        if not isinstance(test, str):
            raise ValueError(
                f"{where}: {name}[{index}] must be a string, got {type(test).__name__}; a test "
                "of a whole program is an object of two strings, `input` and `output`."
            )
        tests.append(test)
    return tuple(tests)


def _pass_rates(row: Row, name: str, where: str) -> dict[str, float]:
    value = row.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {name} must be an object, got {type(value).__name__}.")
    rates: dict[str, float] = {}
    for model, rate in cast(dict[str, object], value).items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ValueError(f"{where}: {name}[{model!r}] must be in [0, 1], got {rate!r}.")
        rates[model] = float(rate)
    return rates
