"""What became of programs, on responses written out by hand."""

import numpy as np
import pytest

from acim_jax.environment.config import ExecutorConfig
from acim_jax.evaluation import calls
from acim_jax.evaluation.episode_records import Judged, episode_record
from acim_jax.grading.grader import Grader
from acim_jax.markup import Markup
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

MARKUP = Markup(
    text_prefixes=("T",), code_prefixes=("C",), code_open="<c>", code_close="</c>",
    output_open="<o>", output_close="</o>", max_turns=3,
)  # fmt: skip


class Characters:
    """One token a character."""

    def decode(self, token_ids: np.ndarray) -> str:
        return "".join(map(chr, token_ids))


def episode(text: str, answer: str | None, *outputs: str, problem: str = "math") -> Episode:
    executions = tuple(
        ExecutionResult("", stdout, "", Status.ERROR if "Error" in stdout else Status.OK, 0.0)
        for stdout in outputs
    )
    ids = np.array([ord(c) for c in text], np.int32)
    return Episode(
        problem, "native", 0,
        (Segment(Author.PROMPT, np.array([63], np.int32)), Segment(Author.OUTPUT, ids)),
        executions, Stop.EOS, SamplingParams(), text=text, answer=answer,
        reward=float(answer == "4"),
    )  # fmt: skip


RESPONSES = {
    # The second program checks an answer that stands already.
    "used": episode(
        "say <c>2+2</c><o>4</o>so \\boxed{4}<c>1+3</c><o>4</o>", "4", "2 tries\n4\n\n", "4\n"
    ),
    "ignored": episode("<c>2+2</c><o>4</o>no, \\boxed{5}", "5", "4\n"),
    # An answer in the program or its output is not yet stated.
    "printed": episode("<c>\\boxed{4}</c><o>\\boxed{4}</o>\\boxed{4}", "4", "\\boxed{4}\n"),
    "failed": episode("ab<c>x</c><o>[error]</o>", None, "4\nError"),
    "text": episode("\\boxed{4}", "4"),
    "code": episode("<c>f</c><o>4</o>", "4", "4\n", problem="code"),
}


def test_calls_against_reading_them() -> None:
    problems = {
        "math": Problem("math", "2 + 2?", "4"),
        "code": Problem("code", "Write f.", "", kind="code", tests=("assert f",)),
    }
    # What the model is shown stands in the text, not what the first program printed.
    shown = RESPONSES["used"].text.replace("<o>4</o>so", "<o>2 tries\n4</o>so")
    shown_errors = RESPONSES["failed"].text.replace("[error]", "4\nError\n[error]")
    responses = {name: one for name, one in RESPONSES.items()}
    responses["used"] = episode(shown, "4", "2 tries\n4\n\n", "4\n")
    responses["failed"] = episode(shown_errors, None, "4\nError")
    tokenizer = Characters()
    plain = [episode_record(one, tokenizer, file="f") for one in responses.values()]
    with Grader(limits=ExecutorConfig(workers=1, modules=())) as grader:
        records = calls.with_calls(
            plain, [*responses.values()], problems, grader, tokenizer, MARKUP
        )
    judged = {name: Judged.of_record(r) for name, r in zip(responses, records, strict=True)}
    found = {
        name: [(call.ok, call.before_answer, call.right) for call in one.calls]
        for name, one in judged.items()
    }
    assert found == {
        "used": [(True, True, True), (True, False, True)],
        "ignored": [(True, True, True)],
        "printed": [(True, True, True)],
        "failed": [(False, True, False)],
        "text": [],
        "code": [(True, True, None)],
    }
    firsts = {name: one.first_program for name, one in judged.items()}
    assert firsts == {
        "used": pytest.approx(4 / len(shown)),
        "ignored": 0.0,
        "printed": 0.0,
        "failed": pytest.approx(2 / len(shown_errors)),
        "text": None,
        "code": 0.0,
    }


def test_a_token_that_reaches_into_the_fence_is_not_before_it() -> None:
    class Pairs(Characters):
        def decode(self, token_ids: np.ndarray) -> str:
            return "".join("abc<c>x</c>!"[2 * i : 2 * i + 2] for i in token_ids)

    one = episode("abc<c>x</c>!", None, "1")
    ids = Segment(Author.OUTPUT, np.arange(6, dtype=np.int32))
    one = Episode(**{**vars(one), "segments": (ids,)})
    assert calls.first_program(one, Pairs(), MARKUP) == 1 / 6
