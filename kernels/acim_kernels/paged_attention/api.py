"""The one signature of paged attention, and the choice of its implementation."""

import functools
from typing import Literal

import jax
from jaxtyping import Array, Float, Int

from acim_kernels import fallback
from acim_kernels.paged_attention import gpu, ragged, reference, tpu
from acim_kernels.paged_attention.pages import Pages

Implementation = Literal["auto", "reference", "tpu", "gpu"]
KERNELS = {"tpu": tpu, "gpu": gpu}


def attention(
    q_BTNH: Float[Array, "B T N H"],
    pages: Pages,
    tables_BM: Int[Array, "B M"],
    positions_BT: Int[Array, "B T"],
    *,
    window: int | Array | None = None,
    implementation: Implementation = "auto",
) -> Float[Array, "B T N H"]:
    """Each query attends to the keys of its row at positions up to its own.

    Key s of row b lies in page `tables[b, s // G]` at offset s % G. N must be a multiple of K
    (grouped queries). window: a query at p sees the keys above p − window only. `auto` takes the
    kernel of the platform that the call is compiled for, whatever platform compiles it, and the
    reference where that kernel has a limit. A kernel asked for by name must cover the input
    (ValueError).
    """
    arrays = (q_BTNH, pages, tables_BM, positions_BT)
    match implementation:
        case "reference":
            return reference.attention(*arrays, window)
        case "tpu" | "gpu":
            kernel = KERNELS[implementation]
            name = f"Paged attention for {implementation.upper()}"
            fallback.refuse(name, kernel.limit(q_BTNH, pages))
            return kernel.attention(*arrays, window)
        case "auto":
            return _by_platform(arrays, window)


def _by_platform(arrays: tuple[Array, Pages, Array, Array], window: int | Array | None) -> Array:
    kernels = {}
    for platform, kernel in KERNELS.items():
        limit = kernel.limit(*arrays[:2])
        if limit is None:
            jax_name = "cuda" if platform == "gpu" else platform
            kernels[jax_name] = functools.partial(kernel.attention, window=window)
        elif jax.default_backend() == platform:
            fallback.report(f"Paged attention for {platform.upper()}", limit)
    general = functools.partial(_general, window=window)
    if not kernels:
        return general(*arrays)
    return jax.lax.platform_dependent(*arrays, default=general, **kernels)


def _general(
    q_BTNH: Array, pages: Pages, tables_BM: Array, positions_BT: Array, window: int | Array | None
) -> Array:
    """In plain jnp: one query a row goes the ragged way where tables are narrow."""
    if q_BTNH.shape[1] > 1 or tables_BM.shape[1] > ragged.WIDEST:
        return reference.attention(q_BTNH, pages, tables_BM, positions_BT, window)
    out_BNH = ragged.attention(q_BTNH[:, 0], pages, tables_BM, positions_BT[:, 0], window)
    return out_BNH[:, None]
