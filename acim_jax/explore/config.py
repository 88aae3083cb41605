"""The `explore` section of a run."""

import dataclasses
from typing import Literal

from acim_jax.records import DECISIONS

StrategyName = Literal["regularised", "energy", "posterior", "value"]


@dataclasses.dataclass(frozen=True)
class ExploreConfig:
    """The `explore` section of a run.

    problems: queries per iteration. guided_rollouts: rollouts under *each* decision's guide (R of
    arXiv:2502.00691). native_rollouts: rollouts without a guide; plain RL has only these.
    strategy: the rule for s*(c|x), see `explore/strategy.py`; alpha belongs to `energy` and
    `value`, beta to `regularised`. keep: rollouts kept per query, drawn by s*; 0 keeps all, weighed
    by s*.
    """

    problems: int = 32
    guided_rollouts: int = 4
    native_rollouts: int = 0
    strategy: StrategyName = "regularised"
    alpha: float = 20.0
    beta: float = 0.1
    keep: int = 4

    def __post_init__(self) -> None:
        if self.problems < 1:
            raise ValueError(f"problems must be at least 1, got {self.problems}.")
        if self.guided_rollouts < 0 or self.native_rollouts < 0 or self.rollouts_per_problem < 1:
            raise ValueError(
                "guided_rollouts and native_rollouts must not be negative, and one of them must "
                f"be positive; got {self.guided_rollouts} and {self.native_rollouts}."
            )
        if self.beta <= 0 or self.alpha < 0:
            raise ValueError(
                f"beta must be positive and alpha not negative, got {self.beta} and {self.alpha}."
            )
        if not 0 <= self.keep <= max(self.guided_rollouts, 0) and self.guided_rollouts:
            raise ValueError(
                f"keep must lie between 0 (all) and guided_rollouts = {self.guided_rollouts}, "
                f"got {self.keep}: all of a query's draws can fall on one decision."
            )

    @property
    def rollouts_per_problem(self) -> int:
        return len(DECISIONS) * self.guided_rollouts + self.native_rollouts
