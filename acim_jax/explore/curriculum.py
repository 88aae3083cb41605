"""Which problems an iteration explores, and what is remembered between iterations."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from acim_jax import rng
from acim_jax.records import Episode, Problem, group_by


@dataclasses.dataclass(frozen=True)
class History:
    """The curriculum's state: how often each problem was explored, its last mean reward, and the
    rollouts made of all.

    Small and JSON-like: it travels in the checkpoint's metadata.
    """

    seen: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    reward: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])
    rollouts: int = 0

    def updated(self, episodes: Sequence[Episode]) -> "History":
        """After an iteration that made these rollouts."""
        rewards = mean_rewards(episodes)
        seen = dict(self.seen)
        for problem_id in rewards:
            seen[problem_id] = seen.get(problem_id, 0) + 1
        return History(seen, {**self.reward, **rewards}, self.rollouts + len(episodes))

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "History":
        seen = {key: int(count) for key, count in content["seen"].items()}
        return cls(seen, dict(content["reward"]), int(content["rollouts"]))


def select(
    problems: Sequence[Problem], history: History, count: int, *, seed: int, iteration: int
) -> list[Problem]:
    """The `count` problems explored least often; among equals in an order drawn afresh each time.

    Every problem is met once before any is met twice, whatever the iteration size.
    """

    def rank(problem: Problem) -> tuple[int, int, str]:
        draw = rng.identity_hash(seed, iteration, "select", problem.id)
        return history.seen.get(problem.id, 0), draw, problem.id

    return sorted(problems, key=rank)[:count]


def mean_rewards(episodes: Sequence[Episode]) -> dict[str, float]:
    """Mean reward of each problem over all of its rollouts, guided and native."""
    return {
        problem_id: sum(e.reward for e in group) / len(group)
        for problem_id, group in group_by(episodes, lambda e: e.problem_id).items()
    }
