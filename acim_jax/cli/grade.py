"""`acim grade --input F --output G`: grades responses against reference answers."""

import argparse
import sys
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import checks, input_records
from acim_jax.files import jsonl
from acim_jax.grading import answers
from acim_jax.grading.grader import Grader


def run(args: argparse.Namespace) -> int:
    """Grades the rows; starts fork servers only if a row needs a symbolic comparison."""
    with bad_input.reading():
        config = checks.grader_config(args, timeout_s="timeout")
        ids, pairs = _read(args.input)
    with Grader(config) as grader:
        grades = grader.grade(pairs)
    if failed := sum(grade.infra for grade in grades):
        print(f"acim grade: {failed} comparisons failed on our side", file=sys.stderr)
        return 1
    rows = [_row(row_id, grade) for row_id, grade in zip(ids, grades, strict=True)]
    jsonl.write(args.output, rows)
    return 0


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


def _read(path: Path) -> tuple[list[object], list[tuple[str, str]]]:
    ids: list[object] = []
    pairs: list[tuple[str, str]] = []
    for number, row in jsonl.read(path):
        where = f"{path}:{number}"
        ids.append(input_records.record_id(row, where))
        answer = row.get("answer")
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = repr(answer)  # many files hold numeric answers as numbers
        prediction = input_records.text_field(row, "prediction", where)
        pairs.append(
            (prediction, input_records.text_field({**row, "answer": answer}, "answer", where))
        )
    return ids, pairs
