"""Rotary positions (arXiv:2104.09864) and the ways of stretching them over longer texts.

Frequencies are computed on the host in float32, in the order of operations that checkpoints were
trained with: at position 32 000 one unit in the last place of a frequency is 0.002 rad.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from acim_jax.model import rope_scaling


class Rope(NamedTuple):
    """cos and sin of the rotary angles of each token, float32 [B, T, H/2]."""

    cos: Array
    sin: Array


def angles(
    positions_BT: Int[Array, "B T"],
    head_dim: int,
    theta: float,
    scaling: rope_scaling.Scaling | None = None,
) -> Rope:
    """cos and sin of p·ω_i for i < H/2, in the half-split layout of Hugging Face's checkpoints."""
    if isinstance(scaling, rope_scaling.Dynamic):
        inverse = _dynamic(positions_BT, head_dim, theta, scaling)
    else:
        inverse = jnp.asarray(frequencies(head_dim, theta, scaling))
    angles_BTH = positions_BT[..., None].astype(jnp.float32) * inverse
    scale = scaling.attention_scale if isinstance(scaling, rope_scaling.Yarn) else 1.0
    return Rope(jnp.cos(angles_BTH) * scale, jnp.sin(angles_BTH) * scale)


def rotate(x_BTNH: Float[Array, "B T N H"], rope: Rope) -> Float[Array, "B T N H"]:
    """Rotates the pairs (x_i, x_{i+H/2}) by their angle, in float32."""
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    cos, sin = rope.cos[:, :, None], rope.sin[:, :, None]
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BTNH.dtype)


def frequencies(
    head_dim: int,
    theta: float,
    scaling: rope_scaling.Linear | rope_scaling.Llama3 | rope_scaling.Yarn | None,
) -> Float32[np.ndarray, " R"]:
    """ω_i, radians a position: θ^(−2i/H), scaled."""
    wavelengths = _powers(head_dim, theta)
    match scaling:
        case None:
            return 1 / wavelengths
        case rope_scaling.Linear(factor=factor):
            return 1 / wavelengths / np.float32(factor)
        case rope_scaling.Llama3():
            return _llama3(1 / wavelengths, scaling)
        case rope_scaling.Yarn():
            return _yarn(wavelengths, theta, scaling)


def _powers(head_dim: int, theta: float) -> Float32[np.ndarray, " R"]:
    """θ^(2i/H): radians a turn of pair i lasts."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    return np.float32(theta) ** exponents


def _llama3(plain: np.ndarray, scaling: rope_scaling.Llama3) -> np.ndarray:
    """Waves longer than original/low are divided, those shorter than original/high are kept."""
    turns = scaling.original_positions * plain / np.float32(2 * math.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(kept, 0, 1)
    return ((1 - kept) * plain / scaling.factor + kept * plain).astype(np.float32)


def _yarn(wavelengths: np.ndarray, theta: float, scaling: rope_scaling.Yarn) -> np.ndarray:
    """Below the ramp frequencies are kept, above it divided by the factor."""
    head_dim = 2 * len(wavelengths)

    def dimension(turns: float) -> float:
        """The (fractional) pair that makes this many turns within the original positions."""
        ratio = scaling.original_positions / (turns * 2 * math.pi)
        return head_dim * math.log(ratio) / (2 * math.log(theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low if high != low else 0.001
    ramp = np.clip((np.arange(head_dim // 2, dtype=np.float32) - low) / width, 0, 1)
    divided = 1 / (np.float32(scaling.factor) * wavelengths)
    return (divided * ramp + (1 / wavelengths) * (1 - ramp)).astype(np.float32)


def _dynamic(
    positions_BT: Array, head_dim: int, theta: float, scaling: rope_scaling.Dynamic
) -> Float[Array, "B T R"]:
    """The frequencies of each token by its own position."""
    length_BT1 = (positions_BT[..., None] + 1).astype(jnp.float32)
    stretch = scaling.factor * length_BT1 / scaling.original_positions - (scaling.factor - 1)
    beyond = length_BT1 > scaling.original_positions
    grown = theta * jnp.where(beyond, stretch, 1.0) ** (head_dim / (head_dim - 2))
    exponents = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    return jnp.where(beyond, 1 / grown**exponents, frequencies(head_dim, theta, None))
