"""E-step, first part: which rollouts are to be made of the chosen problems."""

from collections.abc import Sequence

from acim_jax import rng
from acim_jax.explore.config import ExploreConfig
from acim_jax.markup import Markup
from acim_jax.records import DECISIONS, Problem, RolloutRequest


def requests(
    problems: Sequence[Problem],
    config: ExploreConfig,
    markup: Markup,
    *,
    seed: int,
    iteration: int,
) -> list[RolloutRequest]:
    """Guided rollouts of both decisions, then native ones, for every problem.

    One under the text guide ends if it opens a program: what would follow belongs to neither guide.
    Which of a decision's prefixes a rollout gets is drawn from its identity.
    """
    planned: list[RolloutRequest] = []
    for problem in problems:
        for decision in DECISIONS:
            prefixes = markup.prefixes(decision)
            for index in range(config.guided_rollouts):
                draw = rng.host(seed, iteration, "prefix", problem.id, decision, index)
                prefix = prefixes[int(draw.integers(len(prefixes)))]
                ends_at_fence = decision == "text"
                planned.append(
                    RolloutRequest(problem, decision, index, prefix, ends_at_fence=ends_at_fence)
                )
        planned += [
            RolloutRequest(problem, "native", index) for index in range(config.native_rollouts)
        ]
    return planned
