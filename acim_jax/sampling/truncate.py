"""Top-k, top-p and min-p as one threshold a row, found without sorting the vocabulary."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_LOWEST = jnp.iinfo(jnp.int32).min


class Truncation(NamedTuple):
    """Per row; 0, 1 and 0 switch them off."""

    top_k: Int[Array, "B"]
    top_p: Float[Array, "B"]
    min_p: Float[Array, "B"]


def keep(scores_BV: Float[Array, "B V"], truncation: Truncation) -> Bool[Array, "B V"]:
    """The tokens that may be drawn from softmax(scores).

    In this order, as in Hugging Face's `generate`: the `top_k` best; of these, the fewest best
    ones that hold `top_p` of their mass (arXiv:1904.09751); of these, the ones with at least
    `min_p` of the best one's probability (arXiv:2407.01082). Where we differ: tokens whose scores
    tie with the last one kept are kept as well, so that the order of ids decides nothing.
    """
    order_BV = _ordered(scores_BV)
    k_B = jnp.where(truncation.top_k > 0, truncation.top_k, scores_BV.shape[1])
    threshold_B = _highest(lambda t: jnp.sum(order_BV >= t[:, None], axis=-1) >= k_B, k_B.shape)
    threshold_B = jnp.where(truncation.top_k > 0, threshold_B, _LOWEST)
    kept_BV = order_BV >= threshold_B[:, None]

    best_B1 = jnp.max(scores_BV, axis=-1, keepdims=True)
    mass_BV = jnp.where(kept_BV, jnp.exp(scores_BV - best_B1), 0.0)
    wanted_B = truncation.top_p * jnp.sum(mass_BV, axis=-1)

    def holds_enough(t: Array) -> Array:
        return jnp.sum(jnp.where(order_BV >= t[:, None], mass_BV, 0.0), axis=-1) >= wanted_B

    nucleus_B = _highest(holds_enough, k_B.shape)
    nucleus_B = jnp.where(truncation.top_p < 1, nucleus_B, _LOWEST)
    kept_BV &= order_BV >= nucleus_B[:, None]
    floor_B1 = best_B1[:, 0] + jnp.log(truncation.min_p)  # log 0 = −inf: keeps all
    return kept_BV & (scores_BV >= floor_B1[:, None])


def _ordered(scores: Array) -> Array:
    """int32 in the order of the floats."""
    bits = jax.lax.bitcast_convert_type(scores.astype(jnp.float32), jnp.int32)
    return jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)


def _highest(holds, shape: tuple[int, ...]) -> Array:
    """The highest int32 threshold for which `holds` (true at the lowest, then false) is true."""

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        # (low + high + 1) // 2 without overflow
        middle = (low | high) - ((low ^ high) >> 1)
        true = holds(middle)
        return jnp.where(true, middle, low), jnp.where(true, high, middle - 1)

    low = jnp.full(shape, _LOWEST, jnp.int32)
    high = jnp.full(shape, jnp.iinfo(jnp.int32).max, jnp.int32)
    return jax.lax.fori_loop(0, 32, halve, (low, high))[0]
