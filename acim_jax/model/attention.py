"""Rotary positions, and the cache's write and read: pure functions.

Attention itself is `acim_kernels.attention`. One signature serves training (keys of the same call),
prefill and decode (keys of the cache): a query at position p sees the keys at positions ≤ p. Rows
are left-aligned, so right padding needs no mask of its own: what lies behind a row's last token is
never at a position ≤ p.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Rope(NamedTuple):
    """cos and sin of the rotary angles of each token, float32 [B, T, H/2]."""

    cos: Array
    sin: Array


class CacheUpdate(NamedTuple):
    """One layer's place in a cache: the whole cache, and which layer of it (None: it is one)."""

    k: Array  # [L, B, K, S, H], or [B, K, S, H] when layer is None
    v: Array
    layer: Array | None


def rope_angles(positions_BT: Int[Array, "B T"], head_dim: int, theta: float) -> Rope:
    """θ^(−2i/H)·p for i < H/2, in the half-split layout of Hugging Face's checkpoints."""
    inverse = 1.0 / (theta ** (jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim))
    angles = positions_BT[..., None].astype(jnp.float32) * inverse
    return Rope(jnp.cos(angles), jnp.sin(angles))


def rotate(x_BTNH: Float[Array, "B T N H"], rope: Rope) -> Float[Array, "B T N H"]:
    """Rotates the pairs (x_i, x_{i+H/2}) by their angle, in float32."""
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    cos, sin = rope.cos[:, :, None], rope.sin[:, :, None]
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BTNH.dtype)


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
