"""What the sampler holds on the device: row slots, their cache and what was written into them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from acim_jax.model import cache as model_cache
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes


class SamplerState(NamedTuple):
    """A static set of `B` row slots of at most `S` tokens.

    hidden: the last token's final hidden state, from which the next token is drawn. lengths:
    tokens in each row. tokens, logprobs, margins: by position; logprobs (natural log, of the
    sampling distribution) and margins (how far the chosen token's perturbed score lay above the
    runner-up's) hold for sampled tokens only. A row's columns at and behind its length are free
    to be overwritten.
    """

    cache: model_cache.Cache
    hidden: Float[Array, "B D"]
    lengths: Int[Array, "B"]
    tokens: Int[Array, "B S"]
    logprobs: Float[Array, "B S"]
    margins: Float[Array, "B S"]


@functools.partial(jax.jit, static_argnames=("config", "slots", "length", "layout"))
def create(
    *, config: ModelConfig, slots: int, length: int, layout: axes.Layout | None = None
) -> SamplerState:
    """A state with no row in use, made on the devices in its sharding."""
    empty = SamplerState(
        cache=model_cache.empty(config, slots, length),
        hidden=jnp.zeros((slots, config.hidden_size), config.dtype),
        lengths=jnp.zeros((slots,), jnp.int32),
        tokens=jnp.zeros((slots, length), jnp.int32),
        logprobs=jnp.zeros((slots, length), jnp.float32),
        margins=jnp.zeros((slots, length), jnp.float32),
    )
    return constrain(empty, layout)


def constrain(state: SamplerState, layout: axes.Layout | None) -> SamplerState:
    """Rows over the batch axes, heads of the cache over the tensor axis.

    Stated at the end of every program, so that a program's output is sharded as its input is and
    nothing is compiled a second time.
    """
    if layout is None:
        return state
    per_layer = ("batch", "kv_heads", "sequence", "head_dim")
    row, columns = ("batch",), ("batch", "sequence")

    def one(x: Array) -> Array:
        return axes.constrain(x, per_layer if x.ndim == 4 else ("layers", *per_layer), layout)

    def both(kv: Array | tuple[Array, ...]) -> Array | tuple[Array, ...]:
        return tuple(one(x) for x in kv) if isinstance(kv, tuple) else one(kv)

    return SamplerState(
        cache=model_cache.Cache(both(state.cache.k), both(state.cache.v)),
        hidden=axes.constrain(state.hidden, ("batch", "activation_embed"), layout),
        lengths=axes.constrain(state.lengths, row, layout),
        tokens=axes.constrain(state.tokens, columns, layout),
        logprobs=axes.constrain(state.logprobs, columns, layout),
        margins=axes.constrain(state.margins, columns, layout),
    )
