"""The E-step's target s*(c|x): how often each decision should be taken."""

from collections.abc import Sequence

import numpy as np

from acim_jax.explore.config import ExploreConfig, StrategyName
from acim_jax.records import DecisionValues


def of_estimates(
    estimates: Sequence[DecisionValues], config: ExploreConfig
) -> dict[str, np.ndarray]:
    """s* by problem id, of the problems on which every decision was tried and some rollout
    succeeded."""
    tried = [one for one in estimates if np.all(one.counts > 0)]
    if not tried:
        return {}
    plain_PC = np.stack([one.value for one in tried])
    value_PC = shrunk(plain_PC, np.stack([one.counts for one in tried]), config.value_pseudo_counts)
    strategy_PC = reference(
        floored(np.stack([one.policy for one in tried]), config.prior_floor),
        value_PC,
        strategy=config.strategy,
        alpha=config.alpha,
        beta=config.beta,
    )
    alive = has_signal(plain_PC)
    return {one.problem_id: s for one, s, a in zip(tried, strategy_PC, alive, strict=True) if a}


def reference(
    policy_PC: np.ndarray,
    value_PC: np.ndarray,
    *,
    strategy: StrategyName,
    alpha: float,
    beta: float,
) -> np.ndarray:
    """s*(c|x), rows sum to 1. policy_PC, value_PC: [P, C] in [0, 1].

    energy       ∝ exp(α π Q)     arXiv:2502.00691's E-step as implemented; not the EM posterior:
                                  at α = 1 the odds never pass e, and the prior locks itself in
    posterior    ∝ π Q            the exact E-step of the EM identity
    value        ∝ exp(α Q)       free of the prior
    regularised  ∝ π exp(Q/β)     maximises E_s[Q] − β·KL(s‖π)   (ours, the default)

    `hard` and `tempered` (docs/method.md) belong in this `match`. Rows with Q = 0 everywhere carry
    no signal and get the mode's own limit: uniform for `energy` and `value`, π for the others; see
    `has_signal`. Raises ValueError for values that are nan or outside [0, 1].
    """
    if not (np.all(policy_PC >= 0) and np.all((value_PC >= 0) & (value_PC <= 1))):
        raise ValueError(
            "The strategy needs π ≥ 0 and Q in [0, 1] for every decision; a decision without "
            "rollouts has no Q. Set explore.guided_rollouts to 1 or more."
        )
    with np.errstate(divide="ignore"):
        log_policy = np.log(policy_PC)
        match strategy:
            case "energy":
                scores_PC = alpha * policy_PC * value_PC
            case "posterior":
                scores_PC = log_policy + np.log(value_PC)
            case "value":
                scores_PC = alpha * value_PC
            case "regularised":
                scores_PC = log_policy + value_PC / beta
    dead_P = ~np.isfinite(scores_PC).any(axis=1)
    scores_PC[dead_P] = log_policy[dead_P]
    scores_PC = scores_PC - scores_PC.max(axis=1, keepdims=True)
    weights_PC = np.exp(scores_PC)
    return weights_PC / weights_PC.sum(axis=1, keepdims=True)


def shrunk(value_PC: np.ndarray, counts_PC: np.ndarray, pseudo_counts: float) -> np.ndarray:
    """The posterior mean of Q under the prior Beta(n/2, n/2): (R·Q̂ + n/2)/(R + n), n pseudo_counts.

    s* is not linear in Q̂, so the noise of few rollouts moves it. For Q = (0.4, 0.6), `regularised`
    and β = 0.1, repeating π ← E[s*] ends at π(code) = 0.81 for R = 4 and 0.94 for R = 8, where
    exact values end at 1; with n = 4 it ends at 0.90 and 0.996. Each single s* moves less from π.
    """
    return (counts_PC * value_PC + pseudo_counts / 2) / (counts_PC + pseudo_counts)


def floored(policy_PC: np.ndarray, floor: float) -> np.ndarray:
    """The distribution nearest to π̂ (in KL) whose entries are all at least `floor` < 1/C.

    Entries below it become it, and the others shrink alike; repeated until none falls below.
    """
    if floor == 0.0:
        return policy_PC
    low_PC = np.zeros(policy_PC.shape, np.bool_)
    for _ in range(policy_PC.shape[1]):
        low_PC |= policy_PC < floor
        left_P1 = 1.0 - floor * low_PC.sum(axis=1, keepdims=True)
        kept_PC = np.where(low_PC, 0.0, policy_PC)
        total_P1 = kept_PC.sum(axis=1, keepdims=True)
        policy_PC = np.where(low_PC, floor, kept_PC * left_P1 / np.where(total_P1, total_P1, 1.0))
    return policy_PC


def has_signal(value_PC: np.ndarray) -> np.ndarray:
    """Rows in which some rollout succeeded; the others get no cross-entropy, and are counted."""
    return np.any(value_PC > 0, axis=1)
