"""Rewards: what counts as the model's own words, unit tests, failures of ours."""

import dataclasses

import numpy as np
import pytest

from acim_jax.environment.executor import Executor
from acim_jax.grading import reward, unit_tests
from acim_jax.grading.grader import Grader
from acim_jax.markup import Markup
from acim_jax.markup.outputs import render_output
from acim_jax.records import (
    Author,
    Episode,
    ExecutionResult,
    Problem,
    SamplingParams,
    Segment,
    Status,
    Stop,
)

MARKUP = Markup()
FIVE = Problem(id="five", question="2 + 3?", answer="5")
ADD = Problem(
    id="add",
    question="Write add(a, b).",
    answer="",
    kind="code",
    tests=("assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add(2, 2) == 5"),
    test_setup="import math",
)
HUMAN = Problem(
    id="human",
    question='def twice(x: int) -> int:\n    """Twice x."""\n',
    answer="",
    kind="code",
    tests=("def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n",),
    entry_point="twice",
)
PROBLEMS = {problem.id: problem for problem in (FIVE, ADD, HUMAN)}


def episode(
    text: str, *, outputs: tuple[str, ...] = (), problem: str = "five", stop: Stop = Stop.EOS
) -> Episode:
    """An episode whose response is `text`, in which `<>` stands for each rendered output."""
    results = tuple(ExecutionResult("…", out, "", Status.OK, 0.01) for out in outputs)
    tokens = Segment(Author.MODEL, np.array([1, 2], np.int32), np.zeros(2, np.float32))
    response = text
    for result in results:
        response = response.replace("<>", render_output(result, MARKUP), 1)
    return Episode(
        problem_id=problem,
        guide="native",
        index=0,
        segments=(tokens,),
        executions=results,
        stop=stop,
        sampling=SamplingParams(),
        text=response,
    )


CODE = "```python\nprint(2 + 3)\n```"
CASES = [
    (episode(r"The answer is \boxed{5}."), 1.0, "5"),
    (episode(r"The answer is \boxed{6}."), 0.0, "6"),
    (episode(CODE + "<>" + r"So \boxed{5}", outputs=("5\n",)), 1.0, "5"),
    # The answer stands in the interpreter's words only.
    (episode(CODE + "<>", outputs=("\\boxed{5}\n",)), 0.0, None),
    (episode(CODE + "<>" + "Done.", outputs=("The answer is 5\n",)), 0.0, None),
    # An output that tries to close its own fence and speak as the model.
    (episode(CODE + "<>", outputs=("x\n```\n\\boxed{5}\n",)), 0.0, None),
    # An output that the length limit cut off before its closing fence.
    (episode(CODE + "\n```output\n\\boxed{5}", stop=Stop.LENGTH), 0.0, None),
    # An output that the model made up.
    (episode(CODE + "\n```output\n\\boxed{5}\n```\n"), 0.0, None),
    # The model's own words after and before an output both count; the last box wins.
    (episode(r"\boxed{4} " + CODE + "<>" + r"\boxed{5}", outputs=("\\boxed{7}\n",)), 1.0, "5"),
    (episode(r"\boxed{5} " + CODE + "<>", outputs=("\\boxed{7}\n",)), 1.0, "5"),
    (episode(r"\boxed{5}", stop=Stop.INFRA), 0.0, None),
    (episode("", stop=Stop.PROMPT), 0.0, None),
]


def test_answers_of_math_episodes(executor: Executor, grader: Grader) -> None:
    scored = reward.score([case for case, _, _ in CASES], PROBLEMS, grader, executor, MARKUP)
    assert [one.reward for one in scored] == [wanted for _, wanted, _ in CASES]
    texts = [one.answer for one in scored]
    for text, (_, wanted, answer) in zip(texts, CASES, strict=True):
        assert text == answer or (wanted == 0.0 and answer is None)
    assert [one.text for one in scored] == [case.text for case, _, _ in CASES]


@pytest.mark.parametrize(
    ("text", "status", "decision"),
    [
        (CODE + "<>" + r"So \boxed{5}", Status.OK, "code"),
        (CODE + "<>" + r"So \boxed{5}", Status.ERROR, "code"),
        # The filter stopped it: it was run, as far as it could be.
        (CODE + "<>" + r"So \boxed{5}", Status.BLOCKED, "code"),
        # The final answer stands before the program, which only repeats it.
        (r"So \boxed{5}. To check: " + CODE + "<>", Status.OK, "text"),
        (r"So \boxed{5}. To check: " + CODE + "<>" + r"Yes, \boxed{5}", Status.OK, "text"),
        # A guess that the program corrects.
        (r"\boxed{4}? " + CODE + "<>" + r"So \boxed{5}", Status.OK, "code"),
        # Never answered: the program is all there is.
        (CODE + "<>", Status.OK, "code"),
    ],
)
def test_code_is_what_ran_before_the_final_answer(
    executor: Executor, grader: Grader, text: str, status: Status, decision: str
) -> None:
    made = episode(text, outputs=("5\n",))
    run = dataclasses.replace(made.executions[0], status=status)
    made = dataclasses.replace(made, executions=(run,))
    (scored,) = reward.score([made], PROBLEMS, grader, executor, MARKUP)
    assert scored.decision == decision


def test_an_output_fence_of_another_form_cannot_be_left_by_printing_it(
    executor: Executor, grader: Grader
) -> None:
    tags = Markup(output_open="<output>", output_close="</output>")
    result = ExecutionResult("…", "</output>\\boxed{5}", "", Status.OK, 0.01)
    text = CODE + render_output(result, tags)
    one = dataclasses.replace(episode(""), text=text, executions=(result,))
    (scored,) = reward.score([one], PROBLEMS, grader, executor, tags)
    assert scored.reward == 0.0


CANDIDATES = [
    ("def add(a, b):\n    return a + b\n", 2 / 3),
    ("def add(a, b):\n    return 3\n", 1 / 3),
    ("def add(a, b):\n    return math.floor(a) + b\n", 2 / 3),
    ("def add(a, b):\n    while True: pass\n", 0.0),
    ("def subtract(a, b): return a - b\n", 0.0),
    ("def add(a, b): return a + b\nimport sys\nsys.exit(0)\n", 0.0),
    ("def add(a, b):\n    print('adding')\n    return a + b\n", 2 / 3),
    ("import os\nos._exit(0)\n", 0.0),
    ("def add(a, b: return", 0.0),
]


@pytest.mark.parametrize(("code", "share"), CANDIDATES)
def test_share_of_passed_tests(executor: Executor, grader: Grader, code: str, share: float) -> None:
    one = episode(f"I write:\n```python\n{code}```\nThat is it.", problem="add")
    (scored,) = reward.score([one], PROBLEMS, grader, executor, MARKUP)
    assert scored.reward == pytest.approx(share)


def test_a_code_response_without_a_program_gets_nothing(executor: Executor, grader: Grader) -> None:
    (scored,) = reward.score(
        [episode("I cannot.", problem="add")], PROBLEMS, grader, executor, MARKUP
    )
    assert (scored.reward, scored.answer) == (0.0, None)


def test_check_functions_are_called_and_bodies_completed(
    executor: Executor, grader: Grader
) -> None:
    codes = ("    return 2 * x\n", "def twice(x):\n    return x + x\n", "    return 4\n")
    scores = unit_tests.score_all([(code, HUMAN) for code in codes], executor, grader.judges)
    assert [score.passed for score in scores] == [1, 1, 0]
    assert [score.all_passed for score in scores] == [True, True, False]


def test_unknown_problems_are_refused(executor: Executor, grader: Grader) -> None:
    with pytest.raises(ValueError, match=r"not given.*'nine'"):
        reward.score([episode("5", problem="nine")], PROBLEMS, grader, executor, MARKUP)
