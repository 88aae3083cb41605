"""Compiled functions that prepare rows for the host: copy pages, append given tokens, seat rows.

Each is compiled once per shape. Unused entries name the trash page or no row, and change nothing.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from acim_jax.model import cache, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.sampling import state
from acim_jax.sampling.state import Rows, SamplerState
from acim_jax.sharding import axes
from acim_kernels.paged_attention.pages import Pages


@functools.partial(jax.jit, static_argnames=("config", "layout"), donate_argnames=("sampler",))
def extend(
    params: transformer.Params,
    sampler: SamplerState,
    tables: Int[Array, "D A M"],
    starts: Int[Array, "D A"],
    token_ids: Int[Array, "D A E"],
    *,
    config: ModelConfig,
    layout: axes.Layout | None = None,
) -> SamplerState:
    """Writes the keys and values of given tokens, from position `starts` on, through `tables`.

    Earlier positions are read from the cache. Where a text is shorter than E, what is written
    behind its end is overwritten before anything reads it.
    """
    D, A, E = token_ids.shape
    positions_BE = starts.reshape(-1, 1) + jnp.arange(E)
    _, updated = transformer.forward(
        params,
        config,
        token_ids.reshape(D * A, E),
        positions_BE,
        cache.Cache(sampler.pages, tables),
        layout,
    )
    assert updated is not None  # it was given
    return state.constrain(sampler._replace(pages=updated.pages), layout)


@functools.partial(jax.jit, static_argnames=("num_layers", "layout"), donate_argnames=("sampler",))
def copy_pages(
    sampler: SamplerState,
    sources: Int[Array, "D A"],
    targets: Int[Array, "D A"],
    *,
    num_layers: int,
    layout: axes.Layout | None = None,
) -> SamplerState:
    """Copies pages of every layer within their shard: the partly filled end of a shared prompt."""

    def one_shard(pages: Pages, sources: Array, targets: Array) -> Pages:
        def copy(x: Array) -> Array:
            layers = jnp.arange(num_layers)[:, None] * (x.shape[1] // num_layers)
            return x.at[0, layers + targets].set(x[0, layers + sources])

        return jax.tree.map(copy, pages)

    if layout is None:
        return sampler._replace(pages=one_shard(sampler.pages, sources, targets))
    by_page, by_shard = cache.page_specs(sampler.pages, layout), layout.spec(("batch",))
    pages = jax.shard_map(
        one_shard,
        mesh=layout.mesh,
        in_specs=(by_page, by_shard, by_shard),
        out_specs=by_page,
        check_vma=False,
    )(sampler.pages, sources, targets)
    return state.constrain(sampler._replace(pages=pages), layout)


@functools.partial(jax.jit, static_argnames=("layout",), donate_argnames=("sampler",))
def seat(
    sampler: SamplerState,
    numbers: Int[Array, "D A"],
    rows: Rows,
    *,
    layout: axes.Layout | None = None,
) -> SamplerState:
    """Puts rows `numbers` (C or more: none) into the state `rows` [D, A, …] and into the queue."""
    C = sampler.queue.shape[1]
    is_row = numbers < C
    shard = jnp.arange(numbers.shape[0])[:, None]
    places = sampler.tail[:, None] + jnp.cumsum(is_row, axis=1) - 1
    places = jnp.where(is_row, places % C, C)
    updated = sampler._replace(
        rows=jax.tree.map(
            lambda all_rows, new: all_rows.at[shard, numbers].set(new, mode="drop"),
            sampler.rows,
            rows,
        ),
        queue=sampler.queue.at[shard, places].set(numbers, mode="drop"),
        tail=sampler.tail + jnp.sum(is_row, axis=1),
    )
    return state.constrain(updated, layout)
