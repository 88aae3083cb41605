"""Grading against hand-labelled answers; verdicts come from mathematics, not from the grader."""

import time
from fractions import Fraction
from pathlib import Path

import grading_table
import pytest

from acim_jax.environment import answers, exact
from acim_jax.environment.executor import Executor


@pytest.mark.parametrize(("prediction", "answer", "same"), grading_table.ALL)
def test_table(executor: Executor, prediction: str, answer: str, same: bool) -> None:
    grade = answers.grade(f"so \\boxed{{{prediction}}}", answer, executor, timeout_s=3.0)
    assert grade.correct is same, grade
    assert grade.wall_s < 3.5
    assert grade.method != "timeout" or not same


def test_the_table_is_large_enough_to_mean_something() -> None:
    verdicts = [row[2] for row in grading_table.ALL]
    assert len(verdicts) >= 150
    assert 60 <= sum(verdicts) <= len(verdicts) - 60
    assert len(set(grading_table.ALL)) == len(verdicts)


EXTRACTED = [
    (r"so \boxed{5}", "5"),
    (r"First \boxed{3}, but then \boxed{5}.", "5"),
    (r"\boxed{\frac{1}{2}} and more", r"\frac{1}{2}"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"\boxed{\boxed{7}}", "7"),
    (r"\boxed{1} then \boxed{2", "1"),
    (r"\fbox{9}", "9"),
    (r"\boxed 12$", "12"),
    (r"\boxed{}", ""),
    (r"\boxed{1", None),
    ("It follows.\n#### 1,234", "1,234"),
    ("The answer is 12.", "12"),
    ("Thus the final answer is: $\\frac{3}{4}$.", "$\\frac{3}{4}$"),
    ("The answer is 3.5 dollars. Good.", "3.5 dollars"),
    ("Answer: B", "B"),
    ("The answer is 4, because 2+2=4.", "4"),
    ("the answer to this question is 8", "8"),
    ("42", "42"),
    (" -3/4 \n", "-3/4"),
    ("x^2 + 1", "x^2 + 1"),
    ("12 apples", "12 apples"),
    ("9" * 1000, "9" * 1000),
    ("", None),
    ("We first add the two numbers and then stop.", None),
    ("7\n8", None),
]


@pytest.mark.parametrize(("text", "answer"), EXTRACTED)
def test_extraction(text: str, answer: str | None) -> None:
    assert answers.extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", Fraction(12)),
        ("-0.125", Fraction(-1, 8)),
        ("3/4/2", Fraction(3, 8)),
        (r"\frac{1+2}{2^3}", Fraction(3, 8)),
        (r"3\frac{1}{7}", Fraction(22, 7)),
        (r"3\frac{7}{1}", Fraction(21)),
        ("2^-2", Fraction(1, 4)),
        ("2^3^2", Fraction(512)),
        (r"0.\overline{142857}", Fraction(1, 7)),
        ("1e-2", Fraction(1, 100)),
        ("1/2(3)", None),
        ("2 3", None),
        ("3!!", Fraction(720)),
        ("1/0", None),
        ("0^0", None),
        ("2^(1/2)", None),
        ("10^99999999", None),
        ("2^10000 * 2^10000 * 2^10000 * 2^10000 * 2^10000", None),
        ("2000!", None),
        ("1e9999", None),
        ("x", None),
        ("", None),
    ],
)
def test_rational(text: str, value: Fraction | None) -> None:
    assert exact.rational(text) == value


def test_without_an_executor_only_the_undecided_are_left_open() -> None:
    undecided = answers.grade(r"\boxed{\sqrt{20}}", r"2\sqrt{5}", None)
    assert (undecided.correct, undecided.method) == (False, "none")
    assert answers.grade(r"\boxed{6}", "5", None).method == "exact"
    assert answers.grade("I do not know what to do here", "5", None).extracted is None


def test_wrong_numbers_never_reach_the_symbolic_step() -> None:
    predictions = [
        "4",
        "-5",
        "5.5",
        r"\frac{1}{3}",
        "5x",
        "x",
        "",
        "none",
        "5,6",
        "5/0",
        r"\text{no}",
    ]
    for prediction in predictions:
        assert answers.decide(prediction, "5") is not None, prediction


def test_a_timeout_is_told_apart_from_a_wrong_answer(executor: Executor) -> None:
    slow = r"\sin(" * 25 + "x" + ")" * 25
    grade = answers.grade(rf"\boxed{{{slow}}}", r"\cos x", executor, timeout_s=0.5)
    assert (grade.method, grade.correct) == ("timeout", False)
    assert 0.5 <= grade.wall_s < 3.0


def test_many_at_once_agree_with_one_by_one(executor: Executor) -> None:
    pairs = [(rf"\boxed{{{p}}}", a) for p, a, _ in grading_table.SYMBOLIC * 2]
    together = answers.grade_all(pairs, executor)
    assert [g.correct for g in together] == [v for _, _, v in grading_table.SYMBOLIC * 2]


@pytest.mark.parametrize(
    "text", ["answer is" + "\n" * 200_000, "\\boxed{" * 100_000, "^" + " " * 10**6]
)
def test_hostile_responses_cost_little(text: str) -> None:
    begin = time.process_time()
    assert not answers.grade(text, "5", None).correct
    assert time.process_time() - begin < 2.0  # quadratic work would take minutes


def test_text_that_would_run_as_code_does_not(executor: Executor, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"__import__('pathlib').Path('{marker}').touch()"
    for prediction in (
        code,
        f"{code}+1",
        rf"\frac{{{code}}}{{2}}",
        f"1+{code}",
        f"\\text{{{code}}}",
    ):
        for answer in ("5", "x+1"):
            assert not answers.grade(rf"\boxed{{{prediction}}}", answer, executor).correct
    assert not marker.exists()
