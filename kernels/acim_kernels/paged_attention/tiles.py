"""Queries cut into tiles for the kernels: some of a row's queries, for each key head."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

#: More than any position, and no overflow when a position is taken from it.
EVERYTHING = 1 << 30


class Tiles(NamedTuple):
    """Z = B · tiles of a row; M queries (group · time, then padding) a tile and key head.

    Queries are scaled by 1/√H. A padding query stands at −1: it sees nothing and comes out as 0.
    The keys from `first` to `last`, both included, are all that a tile needs.
    """

    queries: Float[Array, "Z K M H"]
    positions: Int[Array, "Z M"]
    first: Int[Array, "Z"]
    last: Int[Array, "Z"]
    window: Int[Array, ""]


def precision(dtype: jnp.dtype) -> jax.lax.Precision:
    """Of products of this type: exact for float32; half types have the default only."""
    exact = dtype == jnp.float32
    return jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT


def split(
    q_BTNH: Float[Array, "B T N H"],
    positions_BT: Int[Array, "B T"],
    window: int | Array | None,
    *,
    kv_heads: int,
    num_keys: int,
    most: int,
    power_of_two: bool,
) -> Tiles:
    """Tiles of at most `most` queries (one time step's group at least), M a multiple of 16.

    num_keys: how many keys a row's table can name. power_of_two: M must be one.
    """
    B, T, N, H = q_BTNH.shape
    K, R = kv_heads, N // kv_heads
    tiles = -(-T // max(1, most // R))
    t = -(-T // tiles)
    behind = ((0, 0), (0, tiles * t - T))
    q = jnp.pad(q_BTNH * H**-0.5, (*behind, (0, 0), (0, 0)))
    q = q.reshape(B, tiles, t, K, R, H).transpose(0, 1, 3, 4, 2, 5).reshape(B * tiles, K, R * t, H)
    places = jnp.pad(positions_BT.astype(jnp.int32), behind, mode="edge").reshape(B * tiles, t)
    reach = jnp.int32(EVERYTHING) if window is None else jnp.minimum(window, EVERYTHING)
    last = jnp.clip(jnp.max(places, axis=1), 0, num_keys - 1)
    first = jnp.clip(jnp.min(places, axis=1) - reach + 1, 0, last)
    M = max(16, 1 << (R * t - 1).bit_length()) if power_of_two else -(-R * t // 16) * 16
    short = (0, M - R * t)
    return Tiles(
        jnp.pad(q, ((0, 0), (0, 0), short, (0, 0))),
        jnp.pad(jnp.tile(places, (1, R)), ((0, 0), short), constant_values=-1),
        first,
        last,
        reach.astype(jnp.int32),
    )


def join(out_ZKMH: Float[Array, "Z K M H"], shape: tuple[int, ...]) -> Float[Array, "B T N H"]:
    """Back to [B, T, N, H], without the padding."""
    B, T, N, H = shape
    Z, K = out_ZKMH.shape[:2]
    tiles, R = Z // B, N // K
    t = -(-T // tiles)
    out = out_ZKMH[:, :, : R * t].reshape(B, tiles, K, R, t, H)
    return out.transpose(0, 1, 4, 2, 3, 5).reshape(B, tiles * t, N, H)[:, :T]
