"""`acim grade --input F --output G`: grades responses against reference answers."""

import argparse
import math
import sys
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import execute, grading_options
from acim_jax.files import jsonl
from acim_jax.grading import answers
from acim_jax.grading.grader import Grader

_EXAMPLE = r"""
example:
  echo '{"id": "1", "prediction": "so \\boxed{\\frac{1}{2}}", "answer": "0.5"}' > answers.jsonl
  acim grade --input answers.jsonl --output grades.jsonl

input rows:  {"id", "prediction", "answer"}; the prediction is a whole response, its last
             \boxed{...} counts, else a bare answer
output rows: {"id", "correct", "extracted", "method", "wall_s"}, in input order;
             method: exact, numeric, symbolic, timeout or none
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command `grade` to the parsers of `acim`."""
    parser = subparsers.add_parser(
        "grade",
        help="grade answers",
        description="Grades every response of a JSONL file: exactly where that is possible, else "
        "by symbolic comparison in a process that is killed at the timeout.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", type=Path, required=True, metavar="F", help="responses, JSONL")
    parser.add_argument("--output", type=Path, required=True, metavar="G", help="grades, JSONL")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="seconds per symbolic comparison"
    )
    grading_options.add(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Grades the rows; starts fork servers only if a row needs a symbolic comparison."""
    with bad_input.reading():
        if not (math.isfinite(args.timeout) and args.timeout > 0):
            raise ValueError(f"--timeout must be seconds above 0, got {args.timeout}.")
        config = grading_options.read(args, args.timeout)
        ids, pairs = _read(args.input)
        execute.check_output(args.output)
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
        ids.append(execute.row_id(row, where))
        answer = row.get("answer")
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = repr(answer)  # many files hold numeric answers as numbers
        prediction = execute.text_field(row, "prediction", where)
        pairs.append((prediction, execute.text_field({**row, "answer": answer}, "answer", where)))
    return ids, pairs
