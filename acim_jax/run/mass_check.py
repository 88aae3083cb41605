"""Whether the decision prefixes exist on this model: measured before a run's first rollout."""

import logging
from collections.abc import Sequence

import numpy as np

from acim_jax.bad_input import BadInput
from acim_jax.em import e_step
from acim_jax.em.resources import Resources
from acim_jax.explore import curriculum
from acim_jax.explore.curriculum import History
from acim_jax.improve.state import TrainState
from acim_jax.records import DECISIONS, Problem

log = logging.getLogger(__name__)

#: Training problems that the median is taken over.
PROBLEMS = 32


def check(state: TrainState, problems: Sequence[Problem], resources: Resources) -> None:
    """`BadInput`, with what was measured, where the median mass of the prefixes is below
    `explore.min_mass`: then π̂ compares wordings that the model never uses.

    Only runs that use the prefixes are asked: those with guided rollouts.
    """
    config = resources.config
    if config.method == "sft" or not config.explore.guided_rollouts:
        return
    chosen = curriculum.select(
        problems, History(), PROBLEMS, config.explore, seed=config.seed, iteration=0
    )
    estimate = e_step.policy(state, chosen, resources)
    median = float(np.median(estimate.mass))
    log.info(
        "The decision prefixes hold a median mass of %.3g over %d training prompts, π̂(code) %.3f.",
        median,
        len(chosen),
        float(np.mean(estimate.code)),
    )
    if median < config.explore.min_mass:
        markup = resources.sampler.markup
        lists = "\n".join(f"  {d}: {', '.join(map(repr, markup.prefixes(d)))}" for d in DECISIONS)
        low, high = (float(x) for x in np.quantile(estimate.mass, (0.1, 0.9)))
        raise BadInput(
            f"The model hardly ever begins a response with a decision prefix: over {len(chosen)} "
            f"training prompts their probability together has a median of {median:.3g} (tenth "
            f"{low:.3g}, nine tenths {high:.3g}), and explore.min_mass asks for "
            f"{config.explore.min_mass:g}. π̂(code|x) would compare wordings that it never uses.\n"
            f"{lists}\n"
            "`acim prefixes --model MODEL --data FILE` shows how it really begins and proposes "
            "prefixes for model.markup; a warm-up on demonstrations can teach others "
            "(warmup.steps); explore.min_mass: 0 trains all the same."
        )
