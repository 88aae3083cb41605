"""Causal attention for GPU: cuDNN's flash attention, forward and backward, through jax.nn."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def limit(q_BTNH: Array, window: int | Array | None) -> str | None:
    """Why this kernel does not cover the input; None if it does."""
    H = q_BTNH.shape[3]
    if window is not None and not isinstance(window, int):
        return "the window is known at run time only"
    if q_BTNH.dtype not in (jnp.bfloat16, jnp.float16):
        return f"{q_BTNH.dtype}, where cuDNN takes bfloat16 and float16"
    if H > 128 or H % 8:
        return f"heads of {H}, where a multiple of 8 up to 128 is needed"
    if jax.default_backend() != "gpu":
        return "jax asks cuDNN itself what it can do, which needs a GPU in this process"
    return None


def attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BKTH: Float[Array, "B K T H"],
    v_BKTH: Float[Array, "B K T H"],
    window: int | None = None,
    *,
    backend: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "B T N H"]:
    """As `reference.attention`. backend: what computes jax.nn's definition, so that it can be run
    where there is no cuDNN.
    """
    reach = None if window is None or window >= q_BTNH.shape[1] else (window - 1, 0)
    return jax.nn.dot_product_attention(
        q_BTNH,
        k_BKTH.swapaxes(1, 2),
        v_BKTH.swapaxes(1, 2),
        is_causal=True,
        local_window_size=reach,
        implementation=backend,
    )
