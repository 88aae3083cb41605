"""Caches whose rows have pages of their own."""

import jax.numpy as jnp

from acim_jax.model import cache
from acim_jax.model.config import ModelConfig


def empty(config: ModelConfig, rows: int, length: int, page_size: int = 64) -> cache.Cache:
    """A cache of `rows` rows of at most `length` tokens."""
    per_row = -(-length // page_size)
    tables = 1 + jnp.arange(rows * per_row, dtype=jnp.int32).reshape(1, rows, per_row)
    return cache.Cache(cache.empty_pages(config, 1 + rows * per_row, page_size), tables)
