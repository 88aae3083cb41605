"""The next token of each row: Gumbel-max sampling with a key per token."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from acim_jax import rng
from acim_jax.sampling.truncate import Truncation, keep


class Choice(NamedTuple):
    """Per row: the token, log μ(token) of the distribution it was drawn from, the same without
    truncation, and the lead of its perturbed score over the next best."""

    tokens: Int[Array, "B"]
    logprobs: Float[Array, "B"]
    full_logprobs: Float[Array, "B"]
    margins: Float[Array, "B"]


def choose(
    logits_BV: Float[Array, "B V"],
    temperatures_B: Float[Array, "B"],
    truncation: Truncation,
    keys_B2: UInt32[Array, "B 2"],
    positions_B: Int[Array, "B"],
) -> Choice:
    """Draws from the truncated softmax(logits / temperature); temperature 0 takes the best token.

    argmax(logits/τ + Gumbel noise) is a draw from the softmax (Gumbel-max). The noise depends on
    the row's key and the token's position alone. Log-probs are float32, in nats; a greedy row
    reports its log-probs at temperature 1. Truncation costs nothing while no row asks for it, and
    noise nothing while all rows are greedy.
    """
    is_greedy_B = temperatures_B <= 0
    scaled_BV = logits_BV.astype(jnp.float32) / jnp.where(is_greedy_B, 1.0, temperatures_B)[:, None]
    is_cut = (truncation.top_k > 0) | (truncation.top_p < 1) | (truncation.min_p > 0)
    allowed_BV = jax.lax.cond(
        jnp.any(is_cut),
        lambda: jnp.where(keep(scaled_BV, truncation), scaled_BV, -jnp.inf),
        lambda: scaled_BV,
    )

    def perturbed() -> Array:
        noise_BV = rng.gumbel(rng.position_keys(keys_B2, positions_B), logits_BV.shape[1])
        return allowed_BV + jnp.where(is_greedy_B[:, None], 0.0, noise_BV)

    # As a branch the noise, which is most of the work, is computed once and not at each use below.
    scores_BV = jax.lax.cond(jnp.all(is_greedy_B), lambda: allowed_BV, perturbed)
    tokens_B = jnp.argmax(scores_BV, axis=-1).astype(jnp.int32)
    best_B1 = jnp.take_along_axis(scores_BV, tokens_B[:, None], axis=-1)
    is_chosen_BV = jnp.arange(logits_BV.shape[1]) == tokens_B[:, None]
    runner_up_B = jnp.max(jnp.where(is_chosen_BV, -jnp.inf, scores_BV), axis=-1)
    chosen_B = jnp.take_along_axis(scaled_BV, tokens_B[:, None], axis=-1)[:, 0]
    full_B = chosen_B - jax.nn.logsumexp(scaled_BV, axis=-1)
    cut_B = jax.lax.cond(
        jnp.any(is_cut), lambda: chosen_B - jax.nn.logsumexp(allowed_BV, axis=-1), lambda: full_B
    )
    return Choice(tokens_B, cut_B, full_B, best_B1[:, 0] - runner_up_B)
