"""Q̂(x, c) and calls(x, c): mean reward and mean programs run of each guide's rollouts."""

from collections.abc import Sequence

import numpy as np

from acim_jax.explore.decisions import PolicyEstimate
from acim_jax.records import DECISIONS, DecisionValues, Episode, Problem, Stop, group_by

#: Episodes that ended so say nothing of what their guide is worth.
NO_VALUE = (Stop.INFRA, Stop.BROKE_GUIDE)


def estimate(
    problems: Sequence[Problem], episodes: Sequence[Episode], policy: PolicyEstimate
) -> list[DecisionValues]:
    """Q̂ by what was *asked for* (the guide), not by what was detected.

    stderr is √(q(1−q)/R) (0.18 at R = 8, q = 1/2), nan where a guide has no rollouts. Episodes that
    our own executor failed, or that broke their guide, are left out of the mean. Problems keep
    their order; row i of `policy` belongs to problem i.
    """
    groups = group_by([e for e in episodes if e.stop not in NO_VALUE], lambda e: e.problem_id)
    values: list[DecisionValues] = []
    for i, problem in enumerate(problems):
        counts = np.zeros((len(DECISIONS),), np.int64)
        value, stderr, calls = np.full((3, len(DECISIONS)), np.nan)
        for c, decision in enumerate(DECISIONS):
            group = [e for e in groups.get(problem.id, []) if e.guide == decision]
            counts[c] = len(group)
            if group:
                value[c] = np.mean([e.reward for e in group])
                stderr[c] = np.sqrt(value[c] * (1.0 - value[c]) / len(group))
                calls[c] = np.mean([e.calls for e in group])
        mass = float(policy.mass[i])
        values.append(
            DecisionValues(problem.id, counts, value, stderr, policy.policy[i], mass, calls)
        )
    return values
