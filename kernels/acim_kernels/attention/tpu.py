"""Causal attention for TPU: jax's splash attention, forward and backward as Pallas kernels."""

from typing import cast

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jaxtyping import Array, Float

_LANES = 128
#: Queries and keys a step, the first that divides the padded length.
_BLOCKS = (512, 384, 256, 128)
_SIZES = ("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")


def limit(q_BTNH: Array, window: int | Array | None) -> str | None:
    """Why this kernel does not cover the input; None if it does."""
    if window is not None and not isinstance(window, int):
        return "the window is known at run time only"
    if q_BTNH.shape[3] % 64:
        return f"heads of {q_BTNH.shape[3]}, where a multiple of 64 is needed"
    if q_BTNH.dtype == jnp.float16:
        return "float16 is no type of the TPU; use bfloat16"
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    if q_BTNH.dtype != jnp.float32 and precision not in (None, "default", "bfloat16"):
        return f"products of {q_BTNH.dtype} in the matmul precision {precision!r}"
    return None


def attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BKTH: Float[Array, "B K T H"],
    v_BKTH: Float[Array, "B K T H"],
    window: int | None = None,
    *,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """As `reference.attention`. interpret: run on the CPU, in plain jnp.

    The sequence is padded to whole blocks; padding stands behind all queries and is seen by none.
    """
    T, N, H = q_BTNH.shape[1:]
    padded = -(-T // _LANES) * _LANES
    behind = ((0, 0), (0, 0), (0, padded - T), (0, 0))
    q = jnp.pad((q_BTNH * H**-0.5).swapaxes(1, 2), behind)
    k, v = jnp.pad(k_BKTH, behind), jnp.pad(v_BKTH, behind)
    mask: masks.Mask = masks.CausalMask((padded, padded))
    if window is not None and window < T:
        mask = masks.LocalMask((padded, padded), window_size=(window - 1, 0), offset=0)
    block = next(size for size in _BLOCKS if padded % size == 0)
    kernel = splash.make_splash_mha_single_device(
        masks.MultiHeadMask([mask] * N),
        block_sizes=splash.BlockSizes(**dict.fromkeys(_SIZES, block)),
        interpret=interpret,
    )
    out = cast(Array, jax.vmap(kernel)(q, k, v))
    return out[:, :, :T].swapaxes(1, 2)
