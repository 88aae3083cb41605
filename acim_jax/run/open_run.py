"""A run at work: its input, what it works with, its folder, and whatever shows its progress."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from acim_jax.em.resources import Resources
from acim_jax.improve.learner import Learner
from acim_jax.rollout.progress import Progress
from acim_jax.run import resources
from acim_jax.run.folder import RunFolder
from acim_jax.run.preparation import Prepared


@runtime_checkable
class Display(Protocol):
    """`task` opens a bar of `total` steps and gives the function that advances it by one;
    `rollouts` opens one of rollouts."""

    def task(
        self, description: str, total: int
    ) -> contextlib.AbstractContextManager[Callable[[], None]]: ...

    def rollouts(
        self, description: str, total: int
    ) -> contextlib.AbstractContextManager[Progress]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class OpenRun:
    """What stays the same from the first step to the last, or within a stage."""

    prepared: Prepared
    resources: Resources
    folder: RunFolder
    display: Display

    def in_stage(self, number: int) -> "OpenRun":
        """The run at work in one of its stages, counted from 0."""
        own = self.prepared.stages[number]
        made = resources.of_stage(self.resources, own.config, own.model)
        return dataclasses.replace(self, prepared=own, resources=made)

    def with_learner(self, learner: Learner) -> "OpenRun":
        made = dataclasses.replace(self.resources, learner=learner)
        return dataclasses.replace(self, resources=made)
