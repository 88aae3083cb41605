"""One record of a problem file, checked field by field, becomes a `Problem`."""

import dataclasses
import json
from collections.abc import Mapping
from typing import cast, get_args

from acim_jax.data import answer_forms
from acim_jax.records import InputOutput, Kind, Problem

FIELDS = (
    "id", "problem", "answer", "kind", "tests", "test_setup", "entry_point", "subject", "level",
    "source",
)  # fmt: skip

Record = Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a record, each checked as it is read.

    where: the place of the record, `FILE:LINE`; every ValueError begins with it. mapping: our field
    name -> the record's.
    """

    record: Record
    where: str
    mapping: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])

    def get(self, field: str) -> object:
        return self.record.get(self.name(field))

    def name(self, field: str) -> str:
        """What the record calls a field of ours."""
        return self.mapping.get(field, field)

    def text(self, field: str, *, default: str | None = None, whole: bool = False) -> str:
        """A string. A field without a default is required; `whole` accepts an integer as well."""
        name, value = self.name(field), self.get(field)
        if value is None:
            if default is not None:
                return default
            there = ", ".join(sorted(self.record)) or "nothing"
            raise ValueError(
                f"{self.where}: the field {name!r} is missing; the record has {there}."
            )
        if whole and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise ValueError(f"{self.where}: {name} must be a string, got {type(value).__name__}.")
        return value

    def items(self, field: str) -> list[object]:
        """A list, empty where the field is absent."""
        value = self.get(field)
        if value is not None and not isinstance(value, list):
            kind = type(value).__name__
            raise ValueError(f"{self.where}: {self.name(field)} must be a list, got {kind}.")
        return cast(list[object], value or [])


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Refuses a field mapping (our name -> the name in the records) that names no field of ours, or
    reads one field of theirs twice."""
    for field in mapping:
        if field not in FIELDS:
            raise ValueError(
                f"Problems have no field {field!r} to map {mapping[field]!r} to; they have "
                f"{', '.join(FIELDS)}."
            )
    if len(set(mapping.values())) < len(mapping):
        raise ValueError(f"The field mapping reads one column twice: {dict(mapping)}.")


def check_text(record: Record, where: str) -> None:
    """Refuses half a surrogate pair, which a JSON escape can spell and UTF-8 cannot."""
    for name, value in record.items():
        try:
            json.dumps([name, value], ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{where}: {name!r} holds half a surrogate pair.") from None


def to_problem(record: Record, where: str, mapping: Mapping[str, str]) -> Problem:
    """The record as a `Problem`. ValueError, naming `where` and the field, for a missing field and
    for one of another type.

    A record with tests is a code problem unless it says otherwise. null is as good as absent. Whole
    numbers are accepted for `id`, `answer` and `level`. Fields that are not ours go to `extra`. Of
    an answer that holds a box, such as a worked solution, the box is taken.
    """
    check_text(record, where)
    fields = Fields(record, where, mapping)
    tests = _tests(fields)
    kind = _kind(fields, "code" if tests else "math")
    if kind == "code" and not tests:
        raise ValueError(
            f"{where}: a code problem needs {fields.name('tests')}, a list of assert lines."
        )
    question = fields.text("problem")
    if not question.strip():
        raise ValueError(f"{where}: {fields.name('problem')} is empty.")
    ours = {fields.name(field) for field in FIELDS}
    others = ("source", "subject", "test_setup", "entry_point")
    return Problem(
        id=fields.text("id", whole=True),
        question=question,
        answer=_answer(fields) if kind == "math" else fields.text("answer", default="", whole=True),
        kind=kind,
        level=fields.text("level", default="", whole=True),
        tests=tests,
        **{field: fields.text(field, default="") for field in others},
        extra={name: value for name, value in record.items() if name not in ours},
    )


def of_problem(problem: Problem) -> dict[str, object]:
    """The record that `to_problem` makes the problem of; empty fields are left out."""
    tests = [
        {"input": test.stdin, "output": test.stdout} if isinstance(test, InputOutput) else test
        for test in problem.tests
    ]
    names = ("answer", "kind", "test_setup", "entry_point", "subject", "level", "source")
    ours = {name: getattr(problem, name) for name in names} | {"tests": tests}
    written = {name: value for name, value in ours.items() if value}
    others = {name: value for name, value in problem.extra.items() if name not in FIELDS}
    return {"id": problem.id, "problem": problem.question, **written, **others}


def _answer(fields: Fields) -> str:
    answer = fields.text("answer", whole=True)
    if not answer.strip():
        raise ValueError(f"{fields.where}: {fields.name('answer')} is empty.")
    return answer_forms.unboxed(answer)


def _kind(fields: Fields, default: Kind) -> Kind:
    value = fields.get("kind")
    if value not in (None, *get_args(Kind)):
        raise ValueError(
            f"{fields.where}: {fields.name('kind')} must be 'math' or 'code', got {value!r}."
        )
    return default if value is None else cast(Kind, value)


def _tests(fields: Fields) -> tuple[str | InputOutput, ...]:
    tests: list[str | InputOutput] = []
    for index, test in enumerate(fields.items("tests")):
        match test:
            case str():
                tests.append(test)
            case {"input": str(stdin), "output": str(stdout)}:
                tests.append(InputOutput(stdin, stdout))
            case _:
                raise ValueError(
                    f"{fields.where}: {fields.name('tests')}[{index}] must be a string, got "
                    f"{type(test).__name__}; a test of a whole program is an object of two "
                    "strings, `input` and `output`."
                )
    return tuple(tests)
