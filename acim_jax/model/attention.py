"""The cache's write and read: pure functions.

Attention itself is `acim_kernels.attention`. One signature serves training (keys of the same call),
prefill and decode (keys of the cache): a query at position p sees the keys at positions ≤ p. Rows
are left-aligned, so right padding needs no mask of its own: what lies behind a row's last token is
never at a position ≤ p.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array


class CacheUpdate(NamedTuple):
    """One layer's place in a cache: the whole cache, and which layer of it (None: it is one)."""

    k: Array  # [L, B, K, S, H], or [B, K, S, H] when layer is None
    v: Array
    layer: Array | None


def write(update: CacheUpdate, k_BTKH: Array, v_BTKH: Array, positions_BT: Array) -> CacheUpdate:
    """Writes new keys and values at their positions; positions ≥ S are dropped."""
    rows_B1 = jnp.arange(k_BTKH.shape[0])[:, None]
    if update.layer is None:
        put = lambda cache, new: cache.at[rows_B1, :, positions_BT].set(  # noqa: E731
            new.astype(cache.dtype), mode="drop"
        )
    else:
        put = lambda cache, new: cache.at[update.layer, rows_B1, :, positions_BT].set(  # noqa: E731
            new.astype(cache.dtype), mode="drop"
        )
    return CacheUpdate(put(update.k, k_BTKH), put(update.v, v_BTKH), update.layer)


def read(update: CacheUpdate) -> tuple[Array, Array]:
    """This layer's keys and values, each [B, K, S, H]."""
    if update.layer is None:
        return update.k, update.v
    return (
        jax.lax.dynamic_index_in_dim(update.k, update.layer, 0, keepdims=False),
        jax.lax.dynamic_index_in_dim(update.v, update.layer, 0, keepdims=False),
    )
