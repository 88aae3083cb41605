"""What became of a response's programs: did they run before the answer, was their output used.

A call is a program that ran. It ran *before the answer* unless what the model had written until
then, programs and outputs aside, already states the answer that counts; the first call of an
episode so decides `Episode.answered_first`. Its output is *right* if the last line that it printed
equals the reference. A right output is *ignored* where the response's answer is wrong
(arXiv:2604.08281). Tests decide on code problems: no output is right or wrong there.
"""

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from acim_jax.evaluation.episode_records import Decodes
from acim_jax.grading import extraction
from acim_jax.grading.config import Unboxed
from acim_jax.grading.grader import Grader
from acim_jax.markup import Markup, outputs
from acim_jax.records import Author, Episode, ExecutionResult, Problem, Status


def with_calls(
    records: Sequence[Mapping[str, Any]],
    episodes: Sequence[Episode],
    problems: Mapping[str, Problem],
    grader: Grader,
    tokenizer: Decodes,
    markup: Markup,
) -> list[dict[str, Any]]:
    """The episodes' records (of `episode_record`) with `first_program`, and in each of the
    `executions` `before_answer` and `right` (None where there is nothing to compare)."""
    right = iter(_right_outputs(episodes, problems, grader))
    unboxed = grader.config.unboxed
    return [
        {
            **record,
            "first_program": first_program(episode, tokenizer, markup),
            "executions": [
                {**execution, "before_answer": before, "right": next(right)}
                for execution, before in zip(
                    record["executions"], before_answer(episode, markup, unboxed), strict=True
                )
            ],
        }
        for record, episode in zip(records, episodes, strict=True)
    ]


def before_answer(episode: Episode, markup: Markup, unboxed: Unboxed) -> list[bool]:
    """Of each call, whether it ran before the answer that counts was stated."""
    found: list[bool] = []
    said, rest = "", episode.text
    for execution in episode.executions:
        more, _, rest = rest.partition(markup.code_open)
        said += more
        stated = extraction.extract_answer(said, unboxed)
        found.append(episode.answer is None or stated != episode.answer)
        rest = rest.partition(outputs.render_output(execution, markup))[2]
    return found


def first_program(episode: Episode, tokenizer: Decodes, markup: Markup) -> float | None:
    """Share of the response's tokens that stand before the first program's fence (ASPO,
    arXiv:2508.19201); None where none ran. A token that ends in the fence is not before it."""
    characters = episode.text.find(markup.code_open)
    if not episode.executions or characters < 0:
        return None
    ids = np.concatenate([s.token_ids for s in episode.segments if s.author is not Author.PROMPT])
    before = bisect.bisect_right(
        range(len(ids) + 1), characters, key=lambda n: len(tokenizer.decode(ids[:n]))
    )
    return max(before - 1, 0) / len(ids)


def _right_outputs(
    episodes: Sequence[Episode], problems: Mapping[str, Problem], grader: Grader
) -> list[bool | None]:
    """Of all calls, one episode after another."""
    asked = [(problems[one.problem_id], call) for one in episodes for call in one.executions]
    lines = [_last_line(call) if problem.kind == "math" else None for problem, call in asked]
    pairs = [
        (line if "\\boxed" in line else f"\\boxed{{{line}}}", problem.answer)
        for (problem, _), line in zip(asked, lines, strict=True)
        if line
    ]
    grades = iter(grader.grade(pairs))
    return [None if line is None else bool(line) and next(grades).correct for line in lines]


def _last_line(call: ExecutionResult) -> str:
    """The last line printed that is not blank; empty where the program did not end well."""
    lines = call.stdout.split("\n") if call.status is Status.OK else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
