"""The key/value cache: an argument and a result of every forward pass, never module state."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from acim_jax.model.config import ModelConfig


class Cache(NamedTuple):
    """Keys and values of all layers.

    Scanned models hold one array [L, B, K, S, H], carried through the scan and updated in place;
    unrolled models a tuple of L arrays [B, K, S, H], so that no layer is ever sliced out.
    """

    k: Array | tuple[Array, ...]
    v: Array | tuple[Array, ...]


def empty(config: ModelConfig, rows: int, length: int) -> Cache:
    """A cache of zeros for `rows` sequences of at most `length` tokens."""
    shape = (rows, config.num_kv_heads, length, config.head_dim)
    if config.unroll:
        arrays = tuple(jnp.zeros(shape, config.dtype) for _ in range(config.num_layers))
        return Cache(arrays, tuple(jnp.zeros_like(a) for a in arrays))
    stacked = jnp.zeros((config.num_layers, *shape), config.dtype)
    return Cache(stacked, jnp.zeros_like(stacked))


def num_bytes(config: ModelConfig, rows: int, length: int) -> int:
    """Bytes of a cache, keys and values."""
    width = jnp.dtype(config.dtype).itemsize
    per_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim
    return rows * length * per_token * width
