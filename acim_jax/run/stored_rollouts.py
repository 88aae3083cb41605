"""Iterations explored before, out of what a run's folder keeps of them."""

from typing import Any, cast

import numpy as np

from acim_jax.em import e_step, loop
from acim_jax.explore import plan
from acim_jax.explore.decisions import PolicyEstimate
from acim_jax.files import jsonl
from acim_jax.grading import reward
from acim_jax.improve.training_set import TrainingSet
from acim_jax.rollout import journal
from acim_jax.rollout.engine import RolloutStats
from acim_jax.run.open_run import OpenRun


def exploration(this: OpenRun, iteration: int) -> e_step.Exploration:
    """What the E-step of an iteration found: its rollouts as they were sampled and its π̂, with
    rewards, Q̂ and s* made anew by the config as it is. FileNotFoundError or ValueError where the
    folder does not hold all of it."""
    folder, resources, config = this.folder, this.resources, this.resources.config
    paths = folder.all_rollouts(iteration)
    if not paths:
        raise FileNotFoundError(
            f"{folder.path} keeps no rollouts of iteration {iteration}; run.keep_rollouts says of "
            "how many iterations it does."
        )
    lines = [cast(dict[str, Any], record) for _, record in jsonl.read(folder.values(iteration))]
    problems = {problem.id: problem for problem in this.prepared.train}
    if gone := [line["problem_id"] for line in lines if line["problem_id"] not in problems]:
        raise ValueError(f"The training problems no longer hold {gone[0]!r} ({len(gone)} in all).")
    chosen = [problems[line["problem_id"]] for line in lines]
    requests = plan.requests(
        chosen, config.explore, resources.sampler.markup, seed=config.seed, iteration=iteration
    )
    episodes = reward.score(
        journal.finished(paths, requests),
        problems,
        resources.grader,
        resources.executor,
        resources.sampler.markup,
    )
    policy = PolicyEstimate(
        np.array([line["policy"] for line in lines]), np.array([line["mass"] for line in lines])
    )
    episodes = e_step.in_own_prompts(chosen, episodes, resources)
    return e_step.judged(chosen, episodes, policy, RolloutStats(), config.explore)


def earlier(this: OpenRun, iteration: int, first: int) -> list[TrainingSet]:
    """What the iterations before learned from, newest first, as far back as
    `improve.max_staleness` reaches within the stage that begins with iteration `first`."""
    oldest = max(iteration - this.resources.config.improve.max_staleness, first)
    return [
        loop.learned_from(exploration(this, one), this.resources, one)[2]
        for one in range(iteration - 1, oldest - 1, -1)
    ]
