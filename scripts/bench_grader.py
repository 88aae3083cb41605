"""Accuracy and speed of the grader: `python scripts/bench_grader.py [--pairs N]`.

Prints right and wrong verdicts per form over the labelled cases of the tests, the slowest of them,
and the throughput of easy pairs (numbers, fractions, units, lists) on one core and on two.
"""

import concurrent.futures
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich
import rich.table

from acim_jax.environment.config import ExecutorConfig
from acim_jax.files import jsonl
from acim_jax.grading.answers import Grade
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.grader import Grader
from scripts import bench

CASES = Path(__file__).parent.parent / "tests" / "grading" / "cases.jsonl"
COLUMNS = ("cases", "right", "false positive", "false negative", "timeout", "slowest s")
#: Written as (response, reference answer), with a number in the place of {n} and its like.
EASY = (
    (r"So the answer is \boxed{{{n}}}.", "{n}"),
    (r"\boxed{{\frac{{{n}}}{{{m}}}}}", r"\frac{{{n}}}{{{m}}}"),
    (r"\boxed{{{n}/{m}}}", r"\frac{{{n}}}{{{m}}}"),
    (r"The answer is {n}.", "{m}"),
    (r"\boxed{{{n}\text{{ cm}}}}", "{n}"),
    (r"\boxed{{({n}, {m})}}", "({n},{m})"),
    (r"\boxed{{\{{{n}, {m}\}}}}", r"\{{{m},{n}\}}"),
    (r"\boxed{{{n}.5}}", r"{n}\frac{{1}}{{2}}"),
    (r"\boxed{{x = {n}^2}}", "{m}"),
    (r"\boxed{{{n}\%}}", r"{n}\%"),
)


def easy_pairs(count: int) -> list[tuple[str, str]]:
    """All of them differ, so that nothing is answered from a cache."""
    templates = [EASY[i % len(EASY)] for i in range(count)]
    return [
        (response.format(n=i + 3, m=i + 7), answer.format(n=i + 3, m=i + 7))
        for i, (response, answer) in enumerate(templates)
    ]


def grade(
    pairs: Sequence[tuple[str, str]], grader: GraderConfig, limits: ExecutorConfig
) -> tuple[list[Grade], float]:
    """The grades, and seconds with the start of the servers that they need."""
    with Grader(grader, limits) as opened:
        begin = time.perf_counter()
        grades = opened.grade(pairs)
        return grades, time.perf_counter() - begin


def grade_easy(pairs: Sequence[tuple[str, str]]) -> tuple[int, float]:
    """The number of pairs that needed more than exact arithmetic, and seconds."""
    grades, seconds = grade(pairs, GraderConfig(), ExecutorConfig())
    return sum(grade.method not in ("exact", "numeric") for grade in grades), seconds


def table(cases: Sequence[dict[str, Any]], grades: Sequence[Grade]) -> rich.table.Table:
    """One line per form, and one of all."""
    made = bench.table(f"{len(cases)} labelled cases", "form", *COLUMNS)
    for form in [*sorted({case["form"] for case in cases}), "all"]:
        own = [
            (case["correct"], grade)
            for case, grade in zip(cases, grades, strict=True)
            if form in (case["form"], "all")
        ]
        false_positive = sum(grade.correct and not correct for correct, grade in own)
        false_negative = sum(correct and not grade.correct for correct, grade in own)
        timeouts = sum(grade.method == "timeout" for _, grade in own)
        slowest = max(grade.wall_s for _, grade in own)
        right = len(own) - false_positive - false_negative
        figures = (len(own), right, false_positive, false_negative, timeouts, f"{slowest:.2f}")
        made.add_row(form, *map(str, figures), style="bold" if form == "all" else "")
    return made


def main() -> None:
    parser = bench.options(__doc__)
    parser.add_argument("--pairs", type=int, default=20_000, help="easy pairs (%(default)s)")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds per comparison")
    args = parser.parse_args()
    cases = [record for _, record in jsonl.read(CASES)]
    labelled = [(str(case["prediction"]), str(case["answer"])) for case in cases]
    grades, seconds = grade(labelled, GraderConfig(args.timeout), ExecutorConfig(workers=2))
    rich.print(table(cases, grades))
    symbolic = sum(grade.method == "symbolic" for grade in grades)
    print(f"{seconds:.1f} s, start of the servers included; {symbolic} symbolic verdicts")
    pairs = easy_pairs(args.pairs)
    harder, one = grade_easy(pairs)
    print(f"easy pairs on one core: {len(pairs) / one:.0f} pairs/s ({harder} were not easy)")
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        list(pool.map(grade_easy, [pairs[:10], pairs[:10]]))  # starts both
        two = bench.seconds(lambda: list(pool.map(grade_easy, [pairs[::2], pairs[1::2]])))
    print(f"easy pairs on two cores: {len(pairs) / two:.0f} pairs/s")


if __name__ == "__main__":
    main()
