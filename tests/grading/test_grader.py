r"""Grading against labelled cases (`cases.jsonl`); their verdicts come from mathematics.

A case: form, prediction (a whole response), answer, correct, strict (false where graders differ as
a matter of policy), reason. Hostile cases try to be accepted without being the answer, or to be
slow.
"""

import collections
import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from acim_jax.environment.confined import ConfinedFunction, Ending
from acim_jax.environment.executor import Executor
from acim_jax.grading import reward, symbolic_job
from acim_jax.grading.answers import Grade
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.grader import Grader, GradingTimes
from acim_jax.markup import Markup
from acim_jax.records import Episode, Problem, SamplingParams, Status, Stop

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()
]
DEADLINE_S = 3.0


@pytest.fixture(scope="module")
def grades(grader: Grader) -> list[Grade]:
    assert grader.config.timeout_s == DEADLINE_S
    return grader.grade([(case["prediction"], case["answer"]) for case in CASES])


def wrong(grades: list[Grade], **wanted: object) -> list[tuple[str, str, str]]:
    """Cases of the wanted kind that were judged wrongly."""
    return [
        (case["form"], case["prediction"][:80], case["answer"][:80])
        for case, grade in zip(CASES, grades, strict=True)
        if grade.correct is not case["correct"]
        and all(case[name] == value for name, value in wanted.items())
    ]


def test_the_cases_are_many_and_of_every_form() -> None:
    forms = collections.Counter(case["form"] for case in CASES)
    assert len(CASES) >= 600 and len(forms) >= 20
    assert forms["hostile"] >= 100 and min(forms.values()) >= 7
    assert 300 <= sum(case["correct"] for case in CASES) <= len(CASES) - 250
    assert len({(case["prediction"], case["answer"]) for case in CASES}) == len(CASES)
    assert all(case["reason"] for case in CASES)


def test_nothing_wrong_is_accepted(grades: list[Grade]) -> None:
    assert wrong(grades, correct=False) == []


def test_nearly_everything_right_is_accepted(grades: list[Grade]) -> None:
    assert len(wrong(grades)) <= 0.02 * len(CASES), wrong(grades)
    assert len(wrong(grades, strict=True)) <= 0.02 * sum(case["strict"] for case in CASES)


def test_no_case_is_over_its_deadline(grades: list[Grade]) -> None:
    slowest = max(grades, key=lambda grade: grade.wall_s)
    assert slowest.wall_s < DEADLINE_S + 1.0, slowest
    late = [case["form"] for case, g in zip(CASES, grades, strict=True) if g.method == "timeout"]
    assert set(late) <= {"hostile"}


POLICIES = [
    (GraderConfig(), r"\boxed{5\%}", "0.05", True),
    (GraderConfig(), r"\boxed{5\%}", "5", True),
    (GraderConfig(percent="value"), r"\boxed{5\%}", "0.05", True),
    (GraderConfig(percent="value"), r"\boxed{5\%}", "5", False),
    (GraderConfig(percent="value"), r"\boxed{0.05}", r"5\%", True),
    (GraderConfig(percent="value"), r"\boxed{5}", r"5\%", False),
    (GraderConfig(percent="unit"), r"\boxed{5\%}", "0.05", False),
    (GraderConfig(percent="unit"), r"\boxed{5\%}", "5", True),
    (GraderConfig(), r"\boxed{2/3}", "0.6666667", True),
    (GraderConfig(), r"\boxed{2/3}", "0.67", False),
    (GraderConfig(rounding="digits"), r"\boxed{2/3}", "0.67", True),
    (GraderConfig(rounding="digits"), r"\boxed{2/3}", "0.66", False),
    (GraderConfig(rounding="digits"), r"\boxed{0.67}", "2/3", False),
    (GraderConfig(rounding="digits"), r"\boxed{1234}", "1.23e3", True),
    (GraderConfig(rounding="exact"), r"\boxed{2/3}", "0.6666667", False),
    (GraderConfig(rounding="exact"), r"\boxed{1/4}", "0.25", True),
    (GraderConfig(), "The answer is 7.", "7", True),
    (GraderConfig(), "7", "7", True),
    (GraderConfig(unboxed="never"), "The answer is 7.", "7", False),
    (GraderConfig(unboxed="never"), "7", "7", False),
    (GraderConfig(unboxed="never"), r"\boxed{7}", "7", True),
]


@pytest.mark.parametrize(("policy", "response", "answer", "correct"), POLICIES)
def test_where_graders_differ_the_config_decides(
    policy: GraderConfig, response: str, answer: str, correct: bool
) -> None:
    with Grader(policy) as grader:
        (grade,) = grader.grade([(response, answer)])
    assert grade.correct is correct


def test_a_bad_deadline_is_refused() -> None:
    with pytest.raises(ValueError, match=r"(?s)timeout_s.*greater than 0"):
        GraderConfig(timeout_s=0.0)


def test_equal_questions_are_asked_once() -> None:
    pairs = [(r"\boxed{\sqrt{20}}", r"2\sqrt{5}"), (r"\boxed{\sqrt{20}}", r"2\sqrt{6}")]
    judges = ScriptedComparisons([EQUAL, DIFFERENT])
    grader = Grader()
    grader._opened[symbolic_job.JOB] = judges
    first = grader.grade([*pairs, *pairs])
    again = grader.grade(pairs)
    assert [grade.correct for grade in first] == [True, False] * 2
    assert [(grade.correct, grade.method) for grade in again] == [
        (True, "symbolic"),
        (False, "symbolic"),
    ]
    assert judges.asked == [(r"\sqrt{20}", r"2\sqrt{5}"), (r"\sqrt{20}", r"2\sqrt{6}")]


def test_what_ran_out_of_time_or_failed_on_our_side_is_told_apart_and_asked_again() -> None:
    pair = (r"\boxed{\sqrt{20}}", r"2\sqrt{5}")
    endings = [failed(Status.TIMEOUT), failed(Status.INFRA), failed(Status.MEMORY), EQUAL]
    grader = Grader()
    grader._opened[symbolic_job.JOB] = ScriptedComparisons(endings)
    found = [grader.grade([pair])[0] for _ in endings]
    assert [(grade.correct, grade.method, grade.infra) for grade in found] == [
        (False, "timeout", False),
        (False, "symbolic", True),
        (False, "symbolic", False),
        (True, "symbolic", False),
    ]
    assert all(grade.wall_s >= 0.25 for grade in found)


def test_the_slowest_answer_is_named() -> None:
    grader = Grader()
    grader._opened[symbolic_job.JOB] = ScriptedComparisons([EQUAL])
    assert grader.take_times() == GradingTimes((), None)
    grader.grade([(r"\boxed{3}", "3"), (r"\boxed{\sqrt{20}}", r"2\sqrt{5}"), ("none", "4")])
    taken = grader.take_times()
    assert len(taken.seconds) == 3
    assert max(taken.seconds) >= 0.25 > sorted(taken.seconds)[1]
    assert taken.slowest == (r"\sqrt{20}", r"2\sqrt{5}")
    assert grader.take_times() == GradingTimes((), None)


def test_an_episode_whose_grading_failed_on_our_side_is_dropped(executor: Executor) -> None:
    sampling = SamplingParams()
    text = r"\boxed{\sqrt{20}}"
    episode = Episode("p", "native", 0, (), (), Stop.EOS, sampling, text=text)
    problems = {"p": Problem("p", "?", r"2\sqrt{5}")}
    for status, stop, graded in (
        (Status.INFRA, Stop.INFRA, ""),
        (Status.TIMEOUT, Stop.EOS, "timeout"),
    ):
        grader = Grader()
        grader._opened[symbolic_job.JOB] = ScriptedComparisons([failed(status)])
        (scored,) = reward.score([episode], problems, grader, executor, Markup())
        assert (scored.stop, scored.graded, scored.reward) == (stop, graded, 0.0)


def test_text_that_would_run_as_code_does_not(grader: Grader, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"__import__('pathlib').Path('{marker}').touch()"
    frames = ("<>", "<>+1", r"\frac{<>}{2}", "1+<>", r"\text{<>}", r"\sqrt{<>}", "(<>,1)", "x=<>")
    for frame in frames:
        for answer in ("5", "x+1", "(5,1)"):
            response = rf"\boxed{{{frame.replace('<>', code)}}}"
            assert not grader.grade([(response, answer)])[0].correct
    assert not marker.exists()


EQUAL = Ending(Status.ERROR, symbolic_job.EQUAL, "", "", False, 0.25)
DIFFERENT = Ending(Status.ERROR, symbolic_job.DIFFERENT, "", "", False, 0.25)


def failed(status: Status) -> Ending:
    return Ending(status, None, "", "", False, 0.25)


class ScriptedComparisons(ConfinedFunction):
    """Children that end as told, without processes. asked: the questions as they came."""

    def __init__(self, endings: list[Ending]) -> None:
        self.asked: list[tuple[object, ...]] = []
        self._next: Iterator[Ending] = iter(endings)

    def call(self, *arguments: object, convert: Any, **options: object) -> Future[Any]:
        self.asked.append(arguments)
        future: Future[Any] = Future()
        future.set_result(convert(next(self._next)))
        return future
