"""What the sampler holds on the device: conversations' rows, their cache, and the decode slots.

A *row* is a conversation's place in the cache; a *slot* is a place in the decode step. There are
more rows than slots. A slot whose row stops takes the next ready row from the queue in the same
step, without waiting for the host; the stopped row belongs to the host until it is seated again.
Leading axis D: the shards of the batch axes; rows, slots and pages are numbered per shard.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8, UInt32

from acim_jax.model import cache
from acim_jax.model.config import ModelConfig
from acim_jax.sampling.config import SamplingConfig
from acim_jax.sampling.truncate import Truncation
from acim_jax.sharding import axes
from acim_kernels.paged_attention.pages import Pages


class Rows(NamedTuple):
    """C rows a shard, each with up to M pages.

    last: the row's newest token, whose keys are not in the cache yet. lengths: tokens so far, that
    one included. limits: the length at which the row is full. keys: from `rng.rollout_key`.
    temperatures: 0 is greedy. halts: which of the vocabulary's flags stop the row.
    """

    tables: Int[Array, "D C M"]
    last: Int[Array, "D C"]
    lengths: Int[Array, "D C"]
    limits: Int[Array, "D C"]
    keys: UInt32[Array, "D C 2"]
    temperatures: Float[Array, "D C"]
    truncation: Truncation  # of [D, C]
    halts: UInt8[Array, "D C"]


class SamplerState(NamedTuple):
    """slots: the row in each slot, −1 where there is none. queue: ready rows, a ring of C places;
    `head` to `tail` (both only grow) are taken."""

    pages: Pages
    rows: Rows
    slots: Int[Array, "D Z"]
    queue: Int[Array, "D C"]
    head: Int[Array, "D"]
    tail: Int[Array, "D"]


@functools.partial(jax.jit, static_argnames=("model", "config", "layout"))
def create(
    *, model: ModelConfig, config: SamplingConfig, layout: axes.Layout | None = None
) -> SamplerState:
    """A state with no row in use, made on the devices in its sharding."""
    D = 1 if layout is None else layout.shards("batch")
    C, M = config.rows(D), config.pages_per_row

    def zeros(*shape: int, dtype: jnp.dtype | type = jnp.int32) -> Array:
        return jnp.zeros((D, *shape), dtype)

    rows = Rows(
        tables=zeros(C, M),
        last=zeros(C),
        lengths=zeros(C),
        limits=zeros(C),
        keys=zeros(C, 2, dtype=jnp.uint32),
        temperatures=zeros(C, dtype=jnp.float32),
        truncation=Truncation(zeros(C), zeros(C, dtype=jnp.float32), zeros(C, dtype=jnp.float32)),
        halts=zeros(C, dtype=jnp.uint8),
    )
    int8 = config.kv_cache == "int8"
    pages = cache.empty_pages(model, config.pages(D), config.page_size, shards=D, int8=int8)
    slots = jnp.full((D, config.slots // D), -1, jnp.int32)
    state = SamplerState(pages, rows, slots, zeros(C), zeros(), zeros())
    return constrain(state, layout)


def constrain(state: SamplerState, layout: axes.Layout | None) -> SamplerState:
    """Everything split over its shards, heads of the cache over the tensor axis.

    Every compiled function ends with this: its output is sharded as its input, so that nothing is
    compiled a second time.
    """
    if layout is None:
        return state
    by_shard = jax.tree.map(lambda x: axes.constrain(x, ("batch",), layout), state)
    specs = cache.page_shardings(state.pages, layout)
    return by_shard._replace(pages=jax.lax.with_sharding_constraint(state.pages, specs))
