"""Paged attention in plain jnp, page by page with a running softmax: what kernels must equal."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from acim_kernels.paged_attention.pages import Pages

_NONE = jnp.finfo(jnp.float32).min


def attention(
    q_BTNH: Float[Array, "B T N H"],
    pages: Pages,
    tables_BM: Int[Array, "B M"],
    positions_BT: Int[Array, "B T"],
    window: int | Array | None = None,
) -> Float[Array, "B T N H"]:
    """softmax(q·k/√H) v over the key positions that each query sees; sums in float32.

    The loop ends with the last page that any query needs: the cost follows the longest row in
    use, not the tables' width. A page that a row does not see adds exact zeros to its sums,
    so that a row's result does not depend, to the last bit, on the rows beside it.
    """
    B, T, N, H = q_BTNH.shape
    K, G = pages.k.shape[1:3]
    R = N // K
    q = (q_BTNH * H**-0.5).reshape(B, T, K, R, H).transpose(0, 2, 3, 1, 4).reshape(B, K, R * T, H)
    first = jnp.int32(0)
    if window is not None:
        first = jnp.maximum(jnp.min(positions_BT) - window + 1, 0) // G

    def one_page(j: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        best, total, summed = carry
        ids_B = jax.lax.dynamic_index_in_dim(tables_BM, j, axis=1, keepdims=False)
        k, v = fetch(pages, ids_B, q.dtype)
        scores = jnp.einsum("BKMH,BKGH->BKMG", q, k, preferred_element_type=jnp.float32)
        key_positions = j * G + jnp.arange(G)
        seen = key_positions <= positions_BT[..., None]
        if window is not None:
            seen &= key_positions > positions_BT[..., None] - window
        seen = jnp.broadcast_to(seen[:, None, None], (B, 1, R, T, G)).reshape(B, 1, R * T, G)
        scores = jnp.where(seen, scores, _NONE)
        new_best = jnp.maximum(best, jnp.max(scores, axis=-1))
        weights = jnp.where(seen, jnp.exp(scores - new_best[..., None]), 0.0)
        keep = jnp.exp(best - new_best)
        total = total * keep + jnp.sum(weights, axis=-1)
        new = jnp.einsum(
            "BKMG,BKGH->BKMH", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
        )
        return new_best, total, summed * keep[..., None] + new

    start = (
        jnp.full((B, K, R * T), _NONE, jnp.float32),
        jnp.zeros((B, K, R * T), jnp.float32),
        jnp.zeros((B, K, R * T, H), jnp.float32),
    )
    stop = jnp.minimum(jnp.max(positions_BT) // G + 1, tables_BM.shape[1])
    _, total, summed = jax.lax.fori_loop(first, stop, one_page, start)
    out = (summed / jnp.maximum(total, 1e-30)[..., None]).astype(q_BTNH.dtype)
    return out.reshape(B, K, R, T, H).transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)


def fetch(pages: Pages, ids_B: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Keys and values of these pages, each [B, K, G, H], out of int8 if need be."""
    k, v = pages.k[ids_B], pages.v[ids_B]
    if pages.k_scale is None or pages.v_scale is None:
        return k, v
    k_scale, v_scale = pages.k_scale[ids_B], pages.v_scale[ids_B]
    return (k * k_scale[..., None]).astype(dtype), (v * v_scale[..., None]).astype(dtype)
