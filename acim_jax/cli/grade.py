"""`acim grade --input F --output G`: grades responses against reference answers."""

import argparse
import sys

from acim_jax import bad_input
from acim_jax.cli import checks, input_records
from acim_jax.cli.input_records import InputRecord
from acim_jax.files import jsonl
from acim_jax.grading import answers
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.grader import Grader


def run(args: argparse.Namespace) -> int:
    """Grades the rows; starts fork servers only if a row needs a symbolic comparison."""
    with bad_input.reading():
        config = checks.section(GraderConfig, "grader", args)
        records = input_records.read(args.input)
        pairs = [(record.text("prediction"), _answer(record)) for record in records]
    with Grader(config) as grader:
        grades = grader.grade(pairs)
    if failed := sum(grade.infra for grade in grades):
        print(f"acim grade: {failed} comparisons failed on our side", file=sys.stderr)
        return 1
    rows = [_row(record.id, grade) for record, grade in zip(records, grades, strict=True)]
    jsonl.write(args.output, rows)
    return 0


def _answer(record: InputRecord) -> str:
    """The reference; many files hold numeric answers as numbers."""
    answer = record.fields.get("answer")
    is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
    return repr(answer) if is_number else record.text("answer")


def _row(row_id: object, grade: answers.Grade) -> dict[str, object]:
    extracted = grade.extracted
    if extracted is not None:  # half a surrogate pair cannot be written as UTF-8
        extracted = extracted.encode("utf-8", "replace").decode()
    return {
        "id": row_id,
        "correct": grade.correct,
        "extracted": extracted,
        "method": grade.method,
        "wall_s": round(grade.wall_s, 6),
    }
