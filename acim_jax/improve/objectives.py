"""The losses: pure functions of per-token arrays, sums divided by counts that the caller states.

Column t of every array describes token t. Non-targets may hold anything, −inf included: they are
masked before the exponential.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""]


class PolicySums(NamedTuple):
    """Sums over target tokens, for metrics; divide by `targets`."""

    ratio: Scalar
    clipped: Scalar
    kl: Scalar
    targets: Scalar


def clipped_policy_loss(
    logprobs: Float[Array, "B T"],
    behaviour_logprobs: Float[Array, "B T"],
    advantages: Float[Array, "B"],
    weights: Float[Array, "B T"],
    *,
    num_targets: Scalar,
    clip_epsilon: float,
) -> tuple[Scalar, PolicySums]:
    """−Σ w · min(ρA, clip(ρ, 1−ε, 1+ε)A) / num_targets with ρ = π_θ(token)/μ(token).

    The off-policy term of arXiv:2502.00691 with PPO's pessimistic minimum (arXiv:1707.06347)
    instead of the literal clip, whose gradient dies on either side of the band. The behaviour μ is
    the distribution that was sampled from, stored at sampling time. weights: 0 where a token is
    not a target. num_targets: a count that depends neither on the split into microbatches, padding
    and devices nor on which rollouts have an advantage (`fit.improve`). kl is the k3 estimate of
    KL(μ‖π_θ) (Schulman 2020).
    """
    is_target = weights > 0
    log_ratio = jnp.where(is_target, logprobs - behaviour_logprobs, 0.0)
    ratio = jnp.exp(log_ratio)
    advantages_B1 = advantages[:, None]
    clipped = jnp.clip(ratio, 1.0 - clip_epsilon, 1.0 + clip_epsilon)
    objective = jnp.minimum(ratio * advantages_B1, clipped * advantages_B1)
    loss = -jnp.sum(jnp.where(is_target, weights * objective, 0.0)) / num_targets
    sums = PolicySums(
        ratio=jnp.sum(jnp.where(is_target, ratio, 0.0)),
        clipped=jnp.sum(is_target & (jnp.abs(ratio - 1.0) > clip_epsilon), dtype=jnp.float32),
        kl=jnp.sum(jnp.where(is_target, ratio - 1.0 - log_ratio, 0.0)),
        targets=jnp.sum(is_target, dtype=jnp.float32),
    )
    return loss, sums


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
