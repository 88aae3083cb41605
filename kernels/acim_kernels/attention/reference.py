"""Attention in plain jnp: what every faster implementation must equal."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BKSH: Float[Array, "B K S H"],
    v_BKSH: Float[Array, "B K S H"],
    positions_BT: Int[Array, "B T"],
    window: int | Int[Array, ""] | None = None,
) -> Float[Array, "B T N H"]:
    """softmax(q·k/√H) v over key positions s with p − window < s ≤ p; softmax in float32.

    The query heads of a group are folded into the time axis, so that both contractions are plain
    batched matrix products over [B, K]: several times faster on CPU than the five-axis einsum.
    """
    B, T, N, H = q_BTNH.shape
    K, S = k_BKSH.shape[1:3]
    G = N // K
    q = (q_BTNH * H**-0.5).reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4).reshape(B, K, G * T, H)
    scores = jnp.einsum("BKMH,BKSH->BKMS", q, k_BKSH, preferred_element_type=jnp.float32)
    visible_BTS = jnp.arange(S) <= positions_BT[..., None]
    if window is not None:
        visible_BTS &= jnp.arange(S) > positions_BT[..., None] - window
    scores = scores.reshape(B, K, G, T, S)
    scores = jnp.where(visible_BTS[:, None, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v_BKSH.dtype).reshape(B, K, G * T, S)
    out = jnp.einsum("BKMS,BKSH->BKMH", weights, v_BKSH)
    return out.reshape(B, K, G, T, H).transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)
