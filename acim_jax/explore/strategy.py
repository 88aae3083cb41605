"""The E-step's target s*(c|x): how often each decision should be taken."""

from collections.abc import Sequence

import numpy as np

from acim_jax.explore.config import ExploreConfig, StrategyName
from acim_jax.records import DECISIONS, DecisionValues

#: Where every value is 0 their scores hold as they are: uniform, or the decision that is always
#: taken.
_FREE_OF_PRIOR: tuple[StrategyName, ...] = ("energy", "value", "always_text", "always_code")


def of_estimates(
    estimates: Sequence[DecisionValues], config: ExploreConfig
) -> dict[str, np.ndarray]:
    """s* by problem id, of the problems on which every decision was tried and some rollout
    succeeded."""
    tried = [one for one in estimates if np.all(one.counts > 0)]
    if not tried:
        return {}
    plain_PC = np.stack([one.value for one in tried])
    counts_PC = np.stack([one.counts for one in tried])
    strategy_PC = reference(
        floored(np.stack([one.policy for one in tried]), config.prior_floor),
        shrunk(plain_PC, counts_PC, config.value_pseudo_counts),
        config,
        counts_PC=counts_PC + config.value_pseudo_counts,
        calls_PC=np.stack([one.calls for one in tried]),
    )
    alive = has_signal(plain_PC)
    return {one.problem_id: s for one, s, a in zip(tried, strategy_PC, alive, strict=True) if a}


def reference(
    policy_PC: np.ndarray,
    value_PC: np.ndarray,
    config: ExploreConfig,
    *,
    counts_PC: np.ndarray,
    calls_PC: np.ndarray,
) -> np.ndarray:
    """s*(c|x), rows sum to 1. policy_PC, value_PC: [P, C] in [0, 1]. counts_PC: rollouts behind
    each value. calls_PC: mean programs run under each guide.

    energy         ∝ exp(α π Q)   arXiv:2502.00691's E-step as implemented; not the EM posterior:
                                  at α = 1 the odds never pass e, and the prior locks itself in
    hard           argmax of π Q  its first version; the limit of `energy` and `tempered`, α → ∞
    posterior      ∝ π Q          the exact E-step of the EM identity
    tempered       ∝ (π Q)^α
    value          ∝ exp(α Q)     free of the prior
    regularised    ∝ π exp(Q/β)   maximises E_s[Q] − β·KL(s‖π)   (ours, the default)
    cost           ∝ π exp((Q − κ·calls)/β)   a price for tools, as the reward of arXiv:2504.14870
    lexicographic  `_cheapest_of_the_best`    free of the prior, arXiv:2604.08545
    always_text    1 on text, whatever Q: a baseline that is taught one decision
    always_code    1 on code

    Ties of `hard` and `lexicographic` share. Rows with Q = 0 everywhere carry no signal and get the
    mode's own limit: uniform for `energy` and `value`, π for the others; see `has_signal`. Raises
    ValueError for values that are nan or outside [0, 1].
    """
    if not (np.all(policy_PC >= 0) and np.all((value_PC >= 0) & (value_PC <= 1))):
        raise ValueError(
            "The strategy needs π ≥ 0 and Q in [0, 1] for every decision; a decision without "
            "rollouts has no Q. Set explore.guided_rollouts to 1 or more."
        )
    with np.errstate(divide="ignore"):
        scores_PC = _scores(policy_PC, value_PC, config, counts_PC=counts_PC, calls_PC=calls_PC)
        log_policy_PC = np.log(policy_PC)
    dead_P = ~np.isfinite(scores_PC).any(axis=1)
    if config.strategy not in _FREE_OF_PRIOR:
        dead_P |= ~has_signal(value_PC)
    scores_PC[dead_P] = log_policy_PC[dead_P]
    scores_PC = scores_PC - scores_PC.max(axis=1, keepdims=True)
    weights_PC = np.exp(scores_PC)
    return weights_PC / weights_PC.sum(axis=1, keepdims=True)


def _scores(
    policy_PC: np.ndarray,
    value_PC: np.ndarray,
    config: ExploreConfig,
    *,
    counts_PC: np.ndarray,
    calls_PC: np.ndarray,
) -> np.ndarray:
    """log s* of `reference`, up to a constant of each row."""
    log_policy_PC, log_joint_PC = np.log(policy_PC), np.log(policy_PC) + np.log(value_PC)
    match config.strategy:
        case "energy":
            return config.alpha * policy_PC * value_PC
        case "hard":
            joint_PC = policy_PC * value_PC
            return _one_hot_scores(joint_PC == joint_PC.max(axis=1, keepdims=True))
        case "posterior":
            return log_joint_PC
        case "tempered" if config.alpha == 0:  # 0^0 = 1
            return np.zeros(policy_PC.shape)
        case "tempered":
            return config.alpha * log_joint_PC
        case "value":
            return config.alpha * value_PC
        case "regularised":
            return log_policy_PC + value_PC / config.beta
        case "cost":
            net_PC = value_PC - _price(value_PC, config) * calls_PC
            return log_policy_PC + net_PC / config.beta
        case "lexicographic":
            return _one_hot_scores(_cheapest_of_the_best(value_PC, counts_PC, calls_PC))
        case "always_text" | "always_code":
            one_C = np.array([f"always_{name}" == config.strategy for name in DECISIONS])
            return _one_hot_scores(np.broadcast_to(one_C, value_PC.shape))


def _price(value_PC: np.ndarray, config: ExploreConfig) -> np.ndarray:
    """κ(x), [P, 1]: κ, or κ · max_c Q, which falls with the difficulty 1 − max_c Q as the penalty
    of arXiv:2601.14696 does."""
    ease_P1 = value_PC.max(axis=1, keepdims=True)
    match config.call_price_by:
        case "constant":
            return np.full_like(ease_P1, config.call_price)
        case "difficulty":
            return config.call_price * ease_P1


def _cheapest_of_the_best(
    value_PC: np.ndarray, counts_PC: np.ndarray, calls_PC: np.ndarray
) -> np.ndarray:
    """[P, C] bool: of the decisions whose Q is below the best by less than the standard error of
    that difference (or by nothing), the one with the fewest calls; at equal calls the better one.

    The standard error is √(Σ q(1−q)/R) over the two, 0 where both are 0 or 1.
    """
    rows = np.arange(len(value_PC))
    best_P = value_PC.argmax(axis=1)
    variance_PC = value_PC * (1.0 - value_PC) / counts_PC
    gap_PC = value_PC[rows, best_P][:, None] - value_PC
    error_PC = np.sqrt(variance_PC + variance_PC[rows, best_P][:, None])
    as_good_PC = (gap_PC < error_PC) | (gap_PC == 0)
    calls_PC = np.where(as_good_PC, calls_PC, np.inf)
    cheapest_PC = calls_PC == calls_PC.min(axis=1, keepdims=True)
    value_PC = np.where(cheapest_PC, value_PC, -np.inf)
    return value_PC == value_PC.max(axis=1, keepdims=True)


def _one_hot_scores(chosen_PC: np.ndarray) -> np.ndarray:
    return np.where(chosen_PC, 0.0, -np.inf)


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
