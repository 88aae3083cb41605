"""The key/value cache: pages that rows share through tables.

An argument and a result of every forward pass, never module state. It is carried through the
layers and updated in place. On a mesh every shard of the batch axes has a pool of its own, and
tables hold page numbers of their shard's pool, so that no look-up crosses devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes
from acim_kernels.paged_attention import api as kernels
from acim_kernels.paged_attention.pages import TRASH, Pages, write

#: Logical axes of a pool's arrays; the first L·P pages of one shard, layer after layer.
POOL = ("batch", "pages", "kv_heads", "page", "head_dim")


class Cache(NamedTuple):
    """The pools, and where the rows of one call lie in them.

    pages: arrays [D, L·P, K, G, H] over D shards (and scales [D, L·P, K, G] of an int8 cache).
    tables: [D, B/D, M] page numbers below P; `TRASH` (0) where a row has no page.
    """

    pages: Pages
    tables: Int[Array, "D Z M"]


def empty_pages(
    config: ModelConfig, pages: int, page_size: int, *, shards: int = 1, int8: bool = False
) -> Pages:
    """Zeroed pools of `pages` pages a shard and layer, the trash page included."""
    shape = (shards, config.num_layers * pages, config.num_kv_heads, page_size, config.head_dim)
    dtype = jnp.int8 if int8 else config.dtype
    scales = [jnp.zeros(shape[:-1], jnp.float32) if int8 else None for _ in range(2)]
    return Pages(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), *scales)


def empty(config: ModelConfig, rows: int, length: int, page_size: int = 64) -> Cache:
    """A cache of `rows` rows of at most `length` tokens, each with pages of its own."""
    per_row = -(-length // page_size)
    tables = 1 + jnp.arange(rows * per_row, dtype=jnp.int32).reshape(1, rows, per_row)
    return Cache(empty_pages(config, 1 + rows * per_row, page_size), tables)


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

    def one_shard(
        pages: Pages,
        tables: Array,
        layer: Array,
        window: Array | None,
        q: Array,
        k: Array,
        v: Array,
        positions: Array,
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

    reach = None if window is None else jnp.asarray(window, jnp.int32)
    given = (
        cache.pages,
        cache.tables,
        jnp.int32(layer),
        reach,
        q_BTNH,
        k_BTKH,
        v_BTKH,
        positions_BT,
    )
    if layout is None:
        out, pages = one_shard(*given)
        return out, Cache(pages, cache.tables)
    pool = pool_specs(cache.pages, layout)
    rows, whole = layout.spec(("batch", "sequence")), PartitionSpec()
    queries = layout.spec(("batch", "sequence", "heads", "head_dim"))
    keys = layout.spec(("batch", "sequence", "kv_heads", "head_dim"))
    out, pages = jax.shard_map(
        one_shard,
        mesh=layout.mesh,
        in_specs=(pool, rows, whole, whole, queries, keys, keys, rows),
        out_specs=(queries, pool),
        check_vma=False,
    )(*given)
    return out, Cache(pages, cache.tables)


def pool_specs(pages: Pages, layout: axes.Layout) -> Pages:
    """The partitions of a pool's arrays: shards over the batch axes, heads over `kv_heads`'."""
    return jax.tree.map(lambda x: layout.spec(POOL[: x.ndim]), pages)
