"""Which problems an iteration explores, and what is remembered between iterations."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from acim_jax import rng
from acim_jax.explore.config import ExploreConfig
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
    problems: Sequence[Problem],
    history: History,
    count: int,
    config: ExploreConfig,
    *,
    seed: int,
    iteration: int,
) -> list[Problem]:
    """The `count` problems explored least often; among equals in an order drawn afresh each time.

    Every problem is met once before any is met twice, whatever the iteration size. With
    `config.mix` this holds within each domain, and every beginning of the list holds the domains in
    their ratio (`domains`). A larger count goes on with further problems; the list ends early where
    there are no more, with a mix where a domain has no more.
    """

    def rank(problem: Problem) -> tuple[int, int, str]:
        draw = rng.identity_hash(seed, iteration, "select", problem.id)
        return history.seen.get(problem.id, 0), draw, problem.id

    ranked = sorted(problems, key=rank)
    if not config.mix:
        return ranked[:count]
    by_domain = group_by(ranked, lambda problem: domain(problem, config))
    left = {name: iter(by_domain.get(name, ())) for name in config.mix}
    chosen: list[Problem] = []
    for name in domains(config.mix, (iteration - 1) * config.problems, count):
        problem = next(left[name], None)
        if problem is None:
            break
        chosen.append(problem)
    return chosen


def domain(problem: Problem, config: ExploreConfig) -> str:
    """What `explore.mix` knows a problem by."""
    return str(getattr(problem, config.mix_by))


def domains(mix: Mapping[str, float], first: int, count: int) -> list[str]:
    """The domains of `count` problems of a run, from its problem number `first` (from 0) on.

    Of the first n problems of a run, floor(n · share + 1/2) are of the first domain of two, the
    others of the second; of more domains, those not of the first are shared alike among the rest.
    So the ratio holds over iterations, however many problems one has, and no state is kept.
    """
    found: list[str] = []
    before = _reached(mix, first)
    for number in range(first + 1, first + count + 1):
        now = _reached(mix, number)
        found.append(next(name for name in mix if now[name] > before[name]))
        before = now
    return found


def _reached(mix: Mapping[str, float], problems: int) -> dict[str, int]:
    """How many of a run's first `problems` are of which domain. Each step adds one to one domain:
    what rounds up in a split is not left for those behind it."""
    reached: dict[str, int] = {}
    weight = math.fsum(mix.values())
    for name, share in mix.items():
        reached[name] = math.floor(problems * min(share / weight, 1.0) + 0.5)
        problems -= reached[name]
        weight -= share
    return reached


def check_mix(problems: Sequence[Problem], config: ExploreConfig) -> None:
    """ValueError unless the problems fill the mix: every domain has enough for an iteration, and
    none is left out."""
    if not config.mix:
        return
    there = group_by(problems, lambda problem: domain(problem, config))
    has = ", ".join(f"{name!r} ({len(some)})" for name, some in there.items())
    weight = math.fsum(config.mix.values())
    for name, share in config.mix.items():
        # Of three domains and more the roundings of two splits can add up.
        most = math.ceil(config.problems * share / weight) + (len(config.mix) > 2)
        if len(there.get(name, ())) < most:
            raise ValueError(
                f"explore.mix: an iteration takes up to {most} of {config.problems} problems whose "
                f"{config.mix_by} is {name!r}, but of these there are "
                f"{len(there.get(name, ()))}; the training problems have {has}. Add problems, or "
                "change explore.mix or explore.problems."
            )
    if unnamed := [name for name in there if name not in config.mix]:
        raise ValueError(
            f"explore.mix gives {', '.join(map(repr, unnamed))} no share, but there are training "
            f"problems whose {config.mix_by} is that; add a share, or leave them out of the data."
        )


def mean_rewards(episodes: Sequence[Episode]) -> dict[str, float]:
    """Mean reward of each problem over all of its rollouts, guided and native."""
    return {
        problem_id: sum(e.reward for e in group) / len(group)
        for problem_id, group in group_by(episodes, lambda e: e.problem_id).items()
    }
