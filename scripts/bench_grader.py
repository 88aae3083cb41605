"""Accuracy and speed of the grader: `python scripts/bench_grader.py [--pairs N]`.

Prints right and wrong verdicts per form over the labelled cases of the tests, the slowest of them,
and the throughput of easy pairs (numbers, fractions, units, lists) on one core and on two.
"""

import argparse
import concurrent.futures
import json
import time
from collections.abc import Sequence
from pathlib import Path

import rich.console
import rich.table

from acim_jax.environment.config import ExecutorConfig
from acim_jax.grading.answers import Grade
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.grader import Grader

CASES = Path(__file__).parent.parent / "tests" / "grading" / "cases.jsonl"
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


def grade_easy(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """Seconds, and the number of pairs that needed more than exact arithmetic."""
    with Grader() as grader:
        begin = time.perf_counter()
        grades = grader.grade(pairs)
        seconds = time.perf_counter() - begin
    return seconds, sum(grade.method not in ("exact", "numeric") for grade in grades)


def labelled(timeout_s: float) -> tuple[list[dict[str, object]], list[Grade], float]:
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    config = GraderConfig(timeout_s=timeout_s)
    with Grader(config, ExecutorConfig(workers=2)) as grader:
        begin = time.perf_counter()
        grades = grader.grade([(case["prediction"], case["answer"]) for case in cases])
    return cases, grades, time.perf_counter() - begin


def table(cases: Sequence[dict[str, object]], grades: Sequence[Grade]) -> rich.table.Table:
    """One line per form, and one of all."""
    made = rich.table.Table(title=f"{len(cases)} labelled cases")
    headings = (
        "form",
        "cases",
        "right",
        "false positive",
        "false negative",
        "timeout",
        "slowest s",
    )
    for name in headings:
        made.add_column(name, justify="left" if name == "form" else "right")
    forms = sorted({str(case["form"]) for case in cases})
    for form in [*forms, "all"]:
        own = [
            (bool(case["correct"]), grade)
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
    """Parses the options, grades, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pairs", type=int, default=20_000, help="easy pairs (default %(default)s)"
    )
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds per comparison")
    args = parser.parse_args()
    cases, grades, seconds = labelled(args.timeout)
    console = rich.console.Console()
    console.print(table(cases, grades))
    symbolic = sum(grade.method == "symbolic" for grade in grades)
    console.print(f"{seconds:.1f} s, start of the servers included; {symbolic} symbolic verdicts")
    pairs = easy_pairs(args.pairs)
    one, harder = grade_easy(pairs)
    console.print(
        f"easy pairs on one core: {len(pairs) / one:.0f} pairs/s ({harder} were not easy)"
    )
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        list(pool.map(grade_easy, [pairs[:10], pairs[:10]]))  # starts both
        begin = time.perf_counter()
        list(pool.map(grade_easy, [pairs[::2], pairs[1::2]]))
        two = time.perf_counter() - begin
    console.print(f"easy pairs on two cores: {len(pairs) / two:.0f} pairs/s")


if __name__ == "__main__":
    main()
