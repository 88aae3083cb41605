"""The decode loop, which runs on the device and refills its own slots."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from acim_jax.model import cache, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.sampling import state
from acim_jax.sampling.choose import choose
from acim_jax.sampling.state import SamplerState
from acim_jax.sharding import axes


class Log(NamedTuple):
    """What was sampled in one call, by step and slot.

    rows: whose token it is, −1 where the slot was empty. logprobs, full_logprobs: natural log of
    the sampling distribution and of the untruncated one. margins: the lead of the token's
    perturbed score. stopped: the row left its slot with this token. steps: how many were made.
    """

    rows: Int[Array, "T D Z"]
    tokens: Int[Array, "T D Z"]
    logprobs: Float[Array, "T D Z"]
    full_logprobs: Float[Array, "T D Z"]
    margins: Float[Array, "T D Z"]
    stopped: Bool[Array, "T D Z"]
    steps: Int[Array, ""]


@functools.partial(
    jax.jit, static_argnames=("config", "chunk", "layout"), donate_argnames=("sampler",)
)
def decode(
    params: transformer.Params,
    sampler: SamplerState,
    flags_V: UInt8[Array, "V"],
    max_steps: Int[Array, ""],
    max_emptied: Int[Array, ""],
    *,
    config: ModelConfig,
    chunk: int,
    layout: axes.Layout | None = None,
) -> tuple[SamplerState, Log]:
    """Samples in all slots, at most `max_steps` ≤ `chunk` tokens each.

    flags: bits of each token; a token that has one of the bits in its row's `halts` stops the row,
    and so does a full row. The slot goes on with the next row of the queue. Returns early once no
    slot has a row, or `max_emptied` more are without one than at the start.
    """
    sampler = state.constrain(_refill(sampler), layout)
    emptied_at = jnp.sum(sampler.slots < 0) + max_emptied

    def more(carry):
        sampler, log = carry
        empty = jnp.sum(sampler.slots < 0)
        return (log.steps < max_steps) & (empty < sampler.slots.size) & (empty < emptied_at)

    def one_step(carry):
        sampler, log = carry
        sampler, log = _step(params, sampler, log, flags_V, config, layout)
        return state.constrain(_refill(sampler), layout), log

    return jax.lax.while_loop(more, one_step, (sampler, _empty_log(sampler, chunk)))


def _step(params, sampler, log, flags_V, config, layout):
    D, Z = sampler.slots.shape
    is_active = sampler.slots >= 0
    at = jnp.maximum(sampler.slots, 0)
    rows = jax.tree.map(lambda x: jax.vmap(lambda one, i: one[i])(x, at), sampler.rows)
    # A slot without a row computes along, on the trash page.
    tables = jnp.where(is_active[..., None], rows.tables, 0)
    positions = jnp.where(is_active, rows.lengths - 1, 0).reshape(-1, 1)
    hidden_B1D, updated = transformer.forward(
        params,
        config,
        rows.last.reshape(-1, 1),
        positions,
        cache.Cache(sampler.pages, tables),
        layout,
    )
    assert updated is not None  # it was given
    logits_BV = transformer.unembed(params, config, hidden_B1D[:, 0])
    logits_BV = axes.constrain(logits_BV, ("batch", "vocab"), layout)
    flat = jax.tree.map(lambda x: x.reshape(D * Z, *x.shape[2:]), rows)
    choice = choose(logits_BV, flat.temperatures, flat.truncation, flat.keys, flat.lengths)
    choice = jax.tree.map(lambda x: x.reshape(D, Z), choice)

    lengths = rows.lengths + 1
    halted = (flags_V[choice.tokens] & rows.halts) > 0
    stopped = is_active & (halted | (lengths >= rows.limits))
    put = jnp.where(is_active, at, sampler.queue.shape[1])
    shard = jnp.arange(D)[:, None]
    sampler = sampler._replace(
        pages=updated.pages,
        rows=sampler.rows._replace(
            last=sampler.rows.last.at[shard, put].set(choice.tokens, mode="drop"),
            lengths=sampler.rows.lengths.at[shard, put].set(lengths, mode="drop"),
        ),
        slots=jnp.where(stopped, -1, sampler.slots),
    )
    new = (jnp.where(is_active, at, -1), *choice, stopped)
    logged = [x.at[log.steps].set(value) for x, value in zip(log, new, strict=False)]
    return sampler, Log(*logged, steps=log.steps + 1)


def _refill(sampler: SamplerState) -> SamplerState:
    """Empty slots take ready rows, first in, first out."""
    C = sampler.queue.shape[1]
    is_empty = sampler.slots < 0
    nth = sampler.head[:, None] + jnp.cumsum(is_empty, axis=1) - 1
    takes = is_empty & (nth < sampler.tail[:, None])
    ready = jax.vmap(lambda queue, i: queue[i])(sampler.queue, nth % C)
    return sampler._replace(
        slots=jnp.where(takes, ready, sampler.slots),
        head=sampler.head + jnp.sum(takes, axis=1),
    )


def _empty_log(sampler: SamplerState, chunk: int) -> Log:
    shape = (chunk, *sampler.slots.shape)
    return Log(
        rows=jnp.full(shape, -1, jnp.int32),
        tokens=jnp.zeros(shape, jnp.int32),
        logprobs=jnp.zeros(shape, jnp.float32),
        full_logprobs=jnp.zeros(shape, jnp.float32),
        margins=jnp.zeros(shape, jnp.float32),
        stopped=jnp.zeros(shape, jnp.bool_),
        steps=jnp.int32(0),
    )
