"""The sampler's two programs: `extend` appends given tokens to rows, `decode` samples new ones.

Both are compiled once for their shapes; everything that varies between calls (which rows, keys,
temperatures, stop tokens, weights) is an argument.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from acim_jax.model import cache as model_cache
from acim_jax.model import transformer
from acim_jax.model.config import ModelConfig
from acim_jax.sampling import choose, state
from acim_jax.sharding import axes


class RowControls(NamedTuple):
    """What the host says about each row for one call of `decode`.

    active: rows that decode. watched: rows that stop where a code fence could have closed.
    temperatures: 0 is greedy. keys: from `rng.rollout_key`.
    """

    active: Bool[Array, "B"]
    watched: Bool[Array, "B"]
    temperatures: Float[Array, "B"]
    keys: UInt32[Array, "B 2"]


class HaltTokens(NamedTuple):
    """Tables over the vocabulary: tokens that end a response; tokens that may close a fence."""

    ends: Bool[Array, "V"]
    fences: Bool[Array, "V"]


def _take_rows(cache: model_cache.Cache, rows_A: Array) -> model_cache.Cache:
    # [B, K, S, H] per layer, or [L, B, K, S, H]: the row axis is the fourth from the right.
    return jax.tree.map(lambda x: jnp.take(x, rows_A, axis=x.ndim - 4, mode="clip"), cache)


def _put_rows(cache: model_cache.Cache, rows_A: Array, new: model_cache.Cache) -> model_cache.Cache:
    def put(x: Array, rows: Array) -> Array:
        if x.ndim == 4:
            return x.at[rows_A].set(rows, mode="drop")
        return x.at[:, rows_A].set(rows, mode="drop")

    return jax.tree.map(put, cache, new)


@functools.partial(jax.jit, static_argnames=("config", "layout"), donate_argnames=("sampler",))
def extend(
    params: transformer.Params,
    sampler: state.SamplerState,
    rows_A: Int[Array, "A"],
    starts_A: Int[Array, "A"],
    token_ids_AE: Int[Array, "A E"],
    counts_A: Int[Array, "A"],
    *,
    config: ModelConfig,
    layout: axes.Layout | None = None,
) -> state.SamplerState:
    """Appends `token_ids[a, :counts[a]]` to row `rows[a]` from position `starts[a]` on.

    Only the new tokens are computed; what the row already holds stays in the cache. A row number
    of B or more is padding and changes nothing.
    """
    E = token_ids_AE.shape[1]
    positions_AE = starts_A[:, None] + jnp.arange(E)
    cache = _take_rows(sampler.cache, rows_A)
    hidden_AED, cache = transformer.forward(
        params, config, token_ids_AE, positions_AE, cache, layout
    )
    assert cache is not None  # it was given
    last_A11 = jnp.maximum(counts_A - 1, 0)[:, None, None]
    hidden_AD = jnp.take_along_axis(hidden_AED, last_A11, axis=1)[:, 0]
    return state.constrain(
        sampler._replace(
            cache=_put_rows(sampler.cache, rows_A, cache),
            hidden=sampler.hidden.at[rows_A].set(hidden_AD, mode="drop"),
            lengths=sampler.lengths.at[rows_A].set(starts_A + counts_A, mode="drop"),
            tokens=sampler.tokens.at[rows_A[:, None], positions_AE].set(token_ids_AE, mode="drop"),
        ),
        layout,
    )


@functools.partial(jax.jit, static_argnames=("config", "layout"), donate_argnames=("sampler",))
def decode(
    params: transformer.Params,
    sampler: state.SamplerState,
    controls: RowControls,
    halts: HaltTokens,
    max_steps: Int[Array, ""],
    max_halted: Int[Array, ""],
    *,
    config: ModelConfig,
    layout: axes.Layout | None = None,
) -> tuple[state.SamplerState, Bool[Array, "B"]]:
    """Samples in every active row until `max_halted` rows have stopped or `max_steps` are done.

    A row stops after an end token, after a token that may close a fence if it is watched, and when
    it is full; the token that stopped it is in the cache like any other. Returns the rows that
    are still active.
    """
    params = transformer.unstack(params, config)
    capacity = sampler.tokens.shape[1]
    rows_B = jnp.arange(sampler.tokens.shape[0])
    num_active = jnp.sum(controls.active)

    def more(carry):
        step, _, active_B = carry
        still = jnp.sum(active_B)
        return (step < max_steps) & (still > 0) & (num_active - still < max_halted)

    def one_step(carry):
        step, sampler, active_B = carry
        logits_BV = transformer.unembed(params, config, sampler.hidden)
        logits_BV = axes.constrain(logits_BV, ("batch", "vocab"), layout)
        at_B = sampler.lengths
        choice = choose.choose(logits_BV, controls.temperatures, controls.keys, at_B)
        # Inactive rows compute along; they write behind their own end, which is free.
        put_B = jnp.where(active_B, at_B, capacity)
        hidden_B1D, cache = transformer.forward(
            params, config, choice.tokens[:, None], at_B[:, None], sampler.cache, layout
        )
        sampler = sampler._replace(
            cache=cache,
            hidden=jnp.where(active_B[:, None], hidden_B1D[:, 0], sampler.hidden),
            lengths=at_B + active_B,
            tokens=sampler.tokens.at[rows_B, put_B].set(choice.tokens, mode="drop"),
            logprobs=sampler.logprobs.at[rows_B, put_B].set(choice.logprobs, mode="drop"),
            margins=sampler.margins.at[rows_B, put_B].set(choice.margins, mode="drop"),
        )
        stops_B = halts.ends[choice.tokens] | (controls.watched & halts.fences[choice.tokens])
        active_B = active_B & ~stops_B & (sampler.lengths < capacity)
        return step + 1, state.constrain(sampler, layout), active_B

    start = (jnp.int32(0), state.constrain(sampler, layout), controls.active)
    _, sampler, active_B = jax.lax.while_loop(more, one_step, start)
    return sampler, active_B
