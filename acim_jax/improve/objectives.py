"""The losses: pure functions of per-token arrays, sums divided by counts that the caller states.

Column t of every array describes token t. Non-targets may hold anything, −inf included: they are
masked before the exponential.
"""

# The types of jax are known in part.
# pyright: reportUnknownMemberType=false

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from acim_jax.improve.config import KLEstimator, PolicyObjective, RatioLevel
from acim_jax.improve.packing import TokenBatch

Scalar = Float[Array, ""]
#: Largest log ρ of a whole rollout, in nats: its exponential is finite.
MAX_LOG_RATIO = 20.0


class PolicySums(NamedTuple):
    """Sums over target tokens, for metrics; divide by `targets`, the entropy by `bonus_targets`.

    ratio: ρ, which a rollout's tokens share where it is one of sequences. clipped: outside what the
    form lets through. kl: k3 of KL(μ‖π) by token. weight, weight_squared: of u = π/μ at the ratio's
    level. corrected: w = π_prox/μ outside what the correction lets through. reference_kl: of the
    config's estimator. entropy: of the targets with a bonus.
    """

    ratio: Scalar
    clipped: Scalar
    kl: Scalar
    targets: Scalar
    weight: Scalar
    weight_squared: Scalar
    corrected: Scalar
    reference_kl: Scalar
    entropy: Scalar
    bonus_targets: Scalar


class PolicyLosses(NamedTuple):
    """total: what is minimised. policy: its part without reference and entropy."""

    total: Scalar
    policy: Scalar


def policy_loss(
    logprobs: Float[Array, "B T"],
    batch: TokenBatch,
    entropies: Float[Array, "B T"] | None = None,
    *,
    objective: PolicyObjective,
    denominator: Scalar,
) -> tuple[PolicyLosses, PolicySums]:
    """(−Σ a·w_c·J + kl_weight·Σ a·KL − entropy_weight·Σ a·H) / denominator

    J is `_surrogate` of ρ, A and log π; ρ = π_θ/μ or, with a correction, π_θ/π_prox
    (arXiv:2505.24298), which then weighs J by the detached w_c = π_prox/μ. a: a token's weight, of
    its row's mean where the aggregation is by sequence. The off-policy term of arXiv:2502.00691 is
    form `clip_only`; the default is PPO's pessimistic minimum (arXiv:1707.06347), as the literal
    clip has no gradient on either side of the band. denominator: as `fit.improve` says, a count
    that depends neither on microbatches and devices nor on which rollouts have an advantage.
    At ρ = 1 all forms but `awr` have REINFORCE's gradient −Σ a·A·∇log π / denominator.
    """
    is_target = batch.weights > 0
    length_B1 = jnp.maximum(jnp.sum(is_target, axis=1, keepdims=True, dtype=jnp.float32), 1.0)

    def log_ratio(of: Array, to: Array) -> Array:
        return jnp.where(is_target, of - to, 0.0)

    at_level = functools.partial(_at_level, length=length_B1, level=objective.ratio)
    behaviour = log_ratio(logprobs, batch.behaviour_logprobs)
    anchor, weights = batch.behaviour_logprobs, batch.weights
    if objective.aggregation == "sequence":
        weights = weights / length_B1
    # A rollout's J counts once, not once a token.
    counted = weights / length_B1 if objective.ratio == "sequence" else weights
    corrected = jnp.full(weights.shape, False)
    if batch.proximal_logprobs is not None:
        anchor = batch.proximal_logprobs
        offset = at_level(log_ratio(anchor, batch.behaviour_logprobs))
        correction, corrected = _corrected(jnp.exp(offset), objective)
        counted = counted * correction
    ratio = jnp.exp(at_level(log_ratio(logprobs, anchor)))
    own = at_level(jnp.where(is_target, logprobs, 0.0))
    value, clipped = _surrogate(ratio, batch.advantages[:, None], own, objective)

    def count(values_BT: Array) -> Scalar:
        return jnp.sum(jnp.where(is_target, values_BT, 0.0), dtype=jnp.float32)

    policy = -jnp.sum(jnp.where(is_target, counted * value, 0.0)) / denominator
    more, beside = _beside(logprobs, entropies, batch, weights, objective)
    kl, weight = jnp.exp(behaviour) - 1.0 - behaviour, jnp.exp(at_level(behaviour))
    found = (ratio, clipped, kl, is_target, weight, weight**2, corrected)
    sums = PolicySums(*map(count, found), **beside)
    return PolicyLosses(policy + more / denominator, policy), sums


def _beside(
    logprobs: Float[Array, "B T"],
    entropies: Float[Array, "B T"] | None,
    batch: TokenBatch,
    weights: Float[Array, "B T"],
    objective: PolicyObjective,
) -> tuple[Scalar, dict[str, Scalar]]:
    """kl_weight · Σ a·KL − entropy_weight · Σ a·H, and the sums of both for metrics."""
    is_target = batch.weights > 0
    more = reference_kl = entropy = bonus_targets = jnp.float32(0.0)
    if batch.reference_logprobs is not None:
        gap = jnp.where(is_target, logprobs - batch.reference_logprobs, 0.0)
        divergence = _divergence(gap, objective.kl_estimator)
        more += objective.kl_weight * jnp.sum(jnp.where(is_target, weights * divergence, 0.0))
        reference_kl = jnp.sum(divergence)
    if entropies is not None:
        has_bonus = is_target if batch.has_bonus is None else is_target & batch.has_bonus
        bonus = jnp.where(has_bonus, entropies, 0.0)
        more -= objective.entropy_weight * jnp.sum(weights * bonus)
        entropy, bonus_targets = jnp.sum(bonus), jnp.sum(has_bonus, dtype=jnp.float32)
    sums = {"reference_kl": reference_kl, "entropy": entropy, "bonus_targets": bonus_targets}
    return more, sums


def _at_level(
    values: Float[Array, "B T"], length: Float[Array, "B 1"], level: RatioLevel
) -> Float[Array, "B #T"]:
    """Of log-probs or log ratios that are 0 where there is no target: each token's own, or what a
    row's targets have together. Log ratios of whole rows are at most MAX_LOG_RATIO, without a
    gradient beyond it."""
    match level:
        case "token":
            return values
        case "sequence_mean":
            joint = jnp.sum(values, axis=1, keepdims=True) / length
        case "sequence":
            joint = jnp.sum(values, axis=1, keepdims=True)
    return jnp.minimum(joint, MAX_LOG_RATIO)


def _surrogate(
    ratio: Float[Array, "B #T"],
    advantages: Float[Array, "B 1"],
    logprobs: Float[Array, "B #T"],
    objective: PolicyObjective,
) -> tuple[Float[Array, "B #T"], Array]:
    """J, which is maximised, and where it is clipped; the equations are those of
    `PolicyObjective.form`.

    Sources: `ppo_min` arXiv:1707.06347, its dual clip arXiv:1912.09729; `is_detached`
    arXiv:2506.13585; `topr` arXiv:2503.14286 with the advantage as its signed reward; `awr`
    arXiv:1910.00177.
    """
    low, high = objective.band
    clipped = jnp.clip(ratio, 1.0 - low, 1.0 + high)
    is_outside = (1.0 - ratio > low) | (ratio - 1.0 > high)
    match objective.form:
        case "ppo_min":
            value = jnp.minimum(ratio * advantages, clipped * advantages)
            if objective.dual_clip is not None:
                bounded = jnp.maximum(value, objective.dual_clip * advantages)
                value = jnp.where(advantages < 0, bounded, value)
            return value, is_outside
        case "clip_only":
            return clipped * advantages, is_outside
        case "is_detached":
            return jax.lax.stop_gradient(clipped) * advantages * logprobs, is_outside
        case "topr":
            taper = jnp.where(advantages < 0, jnp.minimum(ratio, 1.0), 1.0)
            is_tapered = (advantages < 0) & (ratio > 1.0)
            return jax.lax.stop_gradient(taper) * advantages * logprobs, is_tapered
        case "awr":
            largest = jnp.log(objective.awr_max_weight)
            exponent = advantages / objective.awr_temperature
            weight = jnp.exp(jnp.minimum(exponent, largest))
            return weight * logprobs, jnp.broadcast_to(exponent > largest, logprobs.shape)


def _corrected(weight: Float[Array, "B #T"], objective: PolicyObjective) -> tuple[Array, Array]:
    """w = π_prox/μ as the correction takes it, and where that is not w itself.

    `truncated` is truncated importance sampling; `masked` leaves tokens (or rollouts) out.
    """
    is_above = weight > objective.correction_cap
    match objective.correction:
        case "truncated":
            return jnp.minimum(weight, objective.correction_cap), is_above
        case "masked":
            is_outside = is_above | (weight < objective.correction_floor)
            return jnp.where(is_outside, 0.0, weight), is_outside
        case "full" | "none":
            return weight, jnp.full(weight.shape, False)


def _divergence(log_ratio: Float[Array, "B T"], estimator: KLEstimator) -> Float[Array, "B T"]:
    """KL(π‖reference) at sampled tokens by d = log π − log reference (Schulman 2020)."""
    match estimator:
        case "k1":
            return log_ratio
        case "k2":
            return log_ratio**2 / 2
        case "k3":
            return jnp.exp(-log_ratio) - 1.0 + log_ratio


def likelihood_loss(
    logprobs: Float[Array, "B T"], weights: Float[Array, "B T"], *, total_weight: Scalar
) -> Scalar:
    """−Σ w · log π / total_weight: supervised fine-tuning, and the replay of demonstrations."""
    return -jnp.sum(jnp.where(weights > 0, weights * logprobs, 0.0)) / total_weight


def decision_cross_entropy(
    decision_logprobs: Float[Array, "P C"], strategy: Float[Array, "P C"], *, num_problems: Scalar
) -> Scalar:
    """−Σ_x Σ_c s*(c|x) ℓ_c(x) / num_problems, the second term of the M-step (arXiv:2502.00691).

    It acts on the unnormalised ℓ, so that probability on neither prefix is drawn back as well.
    Rows with s* = 0 (padding) add nothing. num_problems: of all explored problems, those without a
    signal too (`fit.improve`).
    """
    used = strategy > 0
    return -jnp.sum(jnp.where(used, strategy * decision_logprobs, 0.0)) / num_problems
