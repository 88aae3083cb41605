"""A reward of the user's own (`grader.reward`), made of plain data (docs/grading.md)."""

import dataclasses
import numbers
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from acim_jax import own_code
from acim_jax.bad_input import BadInput
from acim_jax.data import problem_records
from acim_jax.own_code import Role
from acim_jax.records import Episode, Problem

#: What `Episode.graded` says of a reward that such a function gave.
GRADED = "own"

_ROLE = Role(
    "grader.reward",
    ("problem", "response"),
    "def reward(problem: dict, response: dict) -> float: ...  # from 0 to 1",
)


class OwnReward(NamedTuple):
    """spec: as the user named the function. file: that holds it."""

    spec: str
    file: Path
    function: Callable[..., Any]

    def of(self, episode: Episode, problem: Problem, written: str) -> Episode:
        """The episode, graded by the built-in rules before, with the function's reward.

        written: the response without the interpreter's output. `BadInput`, naming function, problem
        and value, where the function raises or gives no number from 0 to 1.
        """
        where = f"{self.spec}, problem {problem.id!r}, {episode.guide} rollout {episode.index}"
        response = response_record(episode, written)
        try:
            value = self.function(problem=problem_records.of_problem(problem), response=response)
        except Exception as error:
            what = own_code.raised(error, self.file)
            raise BadInput(f"grader.reward: {where}: {what}") from error
        if not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
            raise BadInput(
                f"grader.reward: {where}: a reward must be a number from 0 to 1, got {value!r}"
            )
        return dataclasses.replace(episode, reward=float(value), graded=GRADED)


def find(spec: str) -> OwnReward | None:
    """The function that the setting names, None for an empty one; errors as of `own_code.find`."""
    if not spec:
        return None
    function = own_code.find(spec, _ROLE)
    return OwnReward(spec, own_code.split(spec)[0], function)


def response_record(episode: Episode, written: str) -> dict[str, Any]:
    """What an own reward is told of a response."""
    return {
        "text": episode.text,
        "written": written,
        "answer": episode.answer,
        "reward": episode.reward,
        "graded": episode.graded,
        "decision": episode.decision,
        "guide": episode.guide,
        "stop": episode.stop.value,
        "tokens": episode.num_response_tokens,
        "executions": [
            {**dataclasses.asdict(one), "status": one.status.value} for one in episode.executions
        ],
    }
