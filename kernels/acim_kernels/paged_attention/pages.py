"""The pages that keys and values lie in, in full precision or as int8 with a scale a vector."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

#: The page that tables name where a row has none; what is written there is never read.
TRASH = 0


class Pages(NamedTuple):
    """X pages, each G tokens of K heads.

    k, v: [X, K, G, H], floating or int8. k_scale, v_scale: float32 [X, K, G] where they are int8
    (value = int8 · scale), else None. All layers of a model share the arrays: layer l's page p is
    page l·P + p.
    """

    k: Array
    v: Array
    k_scale: Array | None = None
    v_scale: Array | None = None


def quantize(x: Float[Array, "*B H"]) -> tuple[Int[Array, "*B H"], Float[Array, "*B"]]:
    """Symmetric int8 with one scale a vector: |x − q·scale| ≤ scale/2, scale = max|x|/127."""
    x32 = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(x32), axis=-1) / 127.0
    q = jnp.round(x32 / jnp.where(scale == 0, 1.0, scale)[..., None])
    return q.astype(jnp.int8), scale


def write(
    pages: Pages,
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    page_BT: Int[Array, "B T"],
    offset_BT: Int[Array, "B T"],
) -> Pages:
    """Puts each token's keys and values into its page at its offset.

    Written as a scatter of single vectors into [X·K, G, …], which leaves the array in the
    order in which kernels read it. For one of [K, H] blocks XLA for TPU would reorder, and copy,
    all of it.
    """
    X, K = pages.k.shape[:2]
    places = page_BT[..., None] * K + jnp.arange(K)

    def put(array: Array, new: Array) -> Array:
        flat = array.reshape(X * K, *array.shape[2:])
        flat = flat.at[places, offset_BT[..., None]].set(new.astype(array.dtype))
        return flat.reshape(array.shape)

    new = Pages(k_BTKH, v_BTKH)
    if pages.k_scale is not None:
        (k, k_scale), (v, v_scale) = quantize(k_BTKH), quantize(v_BTKH)
        new = Pages(k, v, k_scale, v_scale)
    return jax.tree.map(put, pages, new)
