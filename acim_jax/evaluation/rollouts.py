"""Scored rollouts of a model: by its own decisions, or with a forced one."""

import dataclasses
from collections.abc import Sequence

from acim_jax.environment.executor import Executor
from acim_jax.grading import reward
from acim_jax.grading.grader import Grader
from acim_jax.markup import Markup
from acim_jax.model import transformer
from acim_jax.records import Episode, Guide, Problem, RolloutRequest, SamplingParams
from acim_jax.rollout import processes
from acim_jax.rollout.journal import Journal
from acim_jax.rollout.progress import SILENT, Progress
from acim_jax.rollout.sampler import Sampler

#: The iteration that evaluation draws under, so that it shares no randomness with training.
ITERATION = -1


@dataclasses.dataclass(frozen=True, eq=False)
class Solver:
    """A model and what its rollouts need. params: in the layout of the sampler."""

    params: transformer.Params
    sampler: Sampler
    executor: Executor
    grader: Grader


def requests(
    problems: Sequence[Problem], guides: Sequence[Guide], markup: Markup, samples: int
) -> list[RolloutRequest]:
    """`samples` rollouts of every problem, guide by guide; a forced decision takes its first
    prefix."""
    prefix = {guide: "" if guide == "native" else markup.prefixes(guide)[0] for guide in guides}
    return [
        RolloutRequest(problem, guide, sample, prefix[guide])
        for guide in guides
        for problem in problems
        for sample in range(samples)
    ]


def run(
    solver: Solver,
    wanted: Sequence[RolloutRequest],
    *,
    sampling: SamplingParams,
    seed: int,
    progress: Progress = SILENT,
    journal: Journal | None = None,
) -> list[Episode]:
    """Scored episodes in the order of `wanted`. The executor is switched off for forced text.
    journal: as in `processes.converse`."""
    executor, markup = solver.executor, solver.sampler.markup
    by_id = {request.problem.id: request.problem for request in wanted}
    episodes, _ = processes.converse(
        solver.params,
        wanted,
        solver.sampler,
        executor,
        seed=seed,
        iteration=ITERATION,
        sampling=sampling,
        score=lambda own: reward.score(own, by_id, solver.grader, executor, markup),
        progress=progress,
        journal=journal,
    )
    return episodes
