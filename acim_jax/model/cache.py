"""The key/value cache: pages that rows share through tables.

An argument and a result of every forward pass, never module state. It is carried through the
layers and updated in place. On a mesh every shard of the batch axes has pages of its own, and a
table holds page numbers of its row's shard, so that no look-up crosses devices.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes
from acim_kernels.paged_attention import api as kernels
from acim_kernels.paged_attention.pages import TRASH, Pages, write

#: Logical axes of the pages' arrays. `pages` are the L·P pages of one shard, layer after layer.
PAGE_AXES = ("batch", "pages", "kv_heads", "page", "head_dim")


class Cache(NamedTuple):
    """The pages, and where the rows of one call lie in them.

    pages: arrays [D, L·P, K, G, H] over D shards (and scales [D, L·P, K, G] of an int8 cache).
    tables: [D, B/D, M] page numbers below P; `TRASH` (0) where a row has no page.
    """

    pages: Pages
    tables: Int[Array, "D Z M"]


def empty_pages(
    config: ModelConfig, pages: int, page_size: int, *, shards: int = 1, int8: bool = False
) -> Pages:
    """`pages` zeroed pages per shard and layer, the trash page included."""
    shape = (shards, config.num_layers * pages, config.num_kv_heads, page_size, config.head_dim)
    dtype = jnp.int8 if int8 else config.dtype
    scales = [jnp.zeros(shape[:-1], jnp.float32) if int8 else None for _ in range(2)]
    return Pages(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), *scales)


def attend(
    cache: Cache,
    layer: int | Int[Array, ""],
    q_BTNH: Float[Array, "B T N H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    positions_BT: Int[Array, "B T"],
    *,
    num_layers: int,
    window: int | Array | None = None,
    layout: axes.Layout | None = None,
) -> tuple[Float[Array, "B T N H"], Cache]:
    """Writes one layer's new keys and values, then attends to all that each query may see.

    A token whose row has no page at its position is written to the trash page.
    """

    one_shard = functools.partial(_attend_on_shard, num_layers=num_layers)
    reach = None if window is None else jnp.asarray(window, jnp.int32)
    new = (q_BTNH, k_BTKH, v_BTKH, positions_BT)
    given = (cache.pages, cache.tables, jnp.int32(layer), reach, *new)
    if layout is None:
        out, pages = one_shard(*given)
        return out, Cache(pages, cache.tables)
    by_page = page_specs(cache.pages, layout)
    rows, whole = layout.spec(("batch", "sequence")), PartitionSpec()
    queries = layout.spec(("batch", "sequence", "heads", "head_dim"))
    keys = layout.spec(("batch", "sequence", "kv_heads", "head_dim"))
    out, pages = jax.shard_map(
        one_shard,
        mesh=layout.mesh,
        in_specs=(by_page, rows, whole, whole, queries, keys, keys, rows),
        out_specs=(queries, by_page),
        check_vma=False,
    )(*given)
    return out, Cache(pages, cache.tables)


def _attend_on_shard(
    pages: Pages,
    tables: Array,
    layer: Array,
    window: Array | None,
    q: Array,
    k: Array,
    v: Array,
    positions: Array,
    *,
    num_layers: int,
) -> tuple[Array, Pages]:
    pages = jax.tree.map(lambda x: x.reshape(x.shape[1:]), pages)
    base = layer * (pages.k.shape[0] // num_layers)
    tables = tables.reshape(tables.shape[1:])
    G, M = pages.k.shape[2], tables.shape[1]
    numbers = jnp.take_along_axis(tables, jnp.minimum(positions // G, M - 1), axis=1)
    numbers = base + jnp.where(positions < M * G, numbers, TRASH)
    pages = write(pages, k, v, numbers, positions % G)
    out = kernels.attention(q, pages, base + tables, positions, window=window)
    return out, jax.tree.map(lambda x: x.reshape(1, *x.shape), pages)


def page_shardings(pages: Pages, layout: axes.Layout) -> Any:
    """How the pages' arrays lie: shards over the batch axes, heads as `kv_heads`."""
    return jax.tree.map(lambda x: layout.sharding(PAGE_AXES[: x.ndim]), pages)


def page_specs(pages: Pages, layout: axes.Layout) -> Any:
    """`page_shardings` as partitions of the layout's mesh."""
    return jax.tree.map(lambda x: layout.spec(PAGE_AXES[: x.ndim]), pages)
