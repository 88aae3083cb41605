"""E-step, first part: which rollouts are to be made of the chosen problems."""

import dataclasses
from collections.abc import Sequence

from acim_jax import rng
from acim_jax.explore.config import ExploreConfig
from acim_jax.markup import Markup
from acim_jax.records import DECISIONS, DecisionName, Problem, RolloutRequest


def requests(
    problems: Sequence[Problem],
    config: ExploreConfig,
    markup: Markup,
    *,
    seed: int,
    iteration: int,
) -> list[RolloutRequest]:
    """Guided rollouts of both decisions, then native ones, for every problem."""
    is_hinted = config.guide == "hint"
    planned: list[RolloutRequest] = []
    for problem in problems:
        planned += [
            guided(
                hinted(problem, decision, markup) if is_hinted else problem,
                decision,
                index,
                markup,
                seed=seed,
                iteration=iteration,
            )
            for decision in DECISIONS
            for index in range(config.guided_rollouts)
        ]
        planned += [
            RolloutRequest(problem, "native", index) for index in range(config.native_rollouts)
        ]
    return planned


def hinted(problem: Problem, decision: DecisionName, markup: Markup) -> Problem:
    """The problem with the hint of a decision behind its question, as it is where that is empty."""
    hint = markup.hint(decision)
    question = f"{problem.question}\n\n{hint}" if hint else problem.question
    return dataclasses.replace(problem, question=question)


def guided(
    problem: Problem,
    decision: DecisionName,
    index: int,
    markup: Markup,
    *,
    seed: int,
    iteration: int,
) -> RolloutRequest:
    """A rollout under the guide of a decision. Which of its prefixes it gets is drawn from its
    identity. One under the text guide ends if it opens a program: what would follow belongs to
    neither guide."""
    prefixes = markup.prefixes(decision)
    draw = rng.host(seed, iteration, "prefix", problem.id, decision, index)
    prefix = prefixes[int(draw.integers(len(prefixes)))]
    return RolloutRequest(problem, decision, index, prefix, ends_at_fence=decision == "text")
