"""Rotary positions (arXiv:2104.09864) and the ways of stretching them over longer texts.

Frequencies are computed on the host in float32, in the order of operations that checkpoints were
trained with: at position 32 000 one unit in the last place of a frequency is 0.002 rad.
"""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int


@dataclasses.dataclass(frozen=True)
class Linear:
    """Positions divided by `factor` (arXiv:2306.15595)."""

    factor: float


@dataclasses.dataclass(frozen=True)
class Dynamic:
    """θ grows with the length of the text beyond `original_positions` ("dynamic NTK").

    Where we differ: transformers takes the longest length in the call, so a token's log-prob
    would depend on what follows it and on its neighbours in the batch. Here the length is the
    token's own position + 1, which is what transformers' generation with a cache computes for a
    prompt within `original_positions`; up to there all of them are the plain frequencies.
    """

    factor: float
    original_positions: int


@dataclasses.dataclass(frozen=True)
class Llama3:
    """Long waves divided by `factor`, short ones kept, between them a mixture (Llama 3.1)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_positions: int


@dataclasses.dataclass(frozen=True)
class Yarn:
    """A ramp over the dimensions from kept to divided frequencies (arXiv:2309.00071).

    beta_fast, beta_slow: turns within `original_positions` where the ramp begins and ends;
    truncate: to whole dimensions. cos and sin are multiplied by `attention_scale`.
    """

    factor: float
    original_positions: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    @property
    def attention_scale(self) -> float:
        """`attention_factor`, else what `factor` and the two mscales make of it."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._scale(self.mscale) / self._scale(self.mscale_all_dim)
        return self._scale(1.0)

    def _scale(self, mscale: float) -> float:
        return 1.0 if self.factor <= 1 else 0.1 * mscale * math.log(self.factor) + 1.0


Scaling = Linear | Dynamic | Llama3 | Yarn


class Rope(NamedTuple):
    """cos and sin of the rotary angles of each token, float32 [B, T, H/2]."""

    cos: Array
    sin: Array


def angles(
    positions_BT: Int[Array, "B T"], head_dim: int, theta: float, scaling: Scaling | None = None
) -> Rope:
    """cos and sin of p·ω_i for i < H/2, in the half-split layout of Hugging Face's checkpoints."""
    if isinstance(scaling, Dynamic):
        inverse = _dynamic(positions_BT, head_dim, theta, scaling)
    else:
        inverse = jnp.asarray(frequencies(head_dim, theta, scaling))
    angles_BTH = positions_BT[..., None].astype(jnp.float32) * inverse
    scale = scaling.attention_scale if isinstance(scaling, Yarn) else 1.0
    return Rope(jnp.cos(angles_BTH) * scale, jnp.sin(angles_BTH) * scale)


def rotate(x_BTNH: Float[Array, "B T N H"], rope: Rope) -> Float[Array, "B T N H"]:
    """Rotates the pairs (x_i, x_{i+H/2}) by their angle, in float32."""
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    cos, sin = rope.cos[:, :, None], rope.sin[:, :, None]
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BTNH.dtype)


def frequencies(
    head_dim: int, theta: float, scaling: Linear | Llama3 | Yarn | None
) -> Float32[np.ndarray, " R"]:
    """ω_i, radians a position: θ^(−2i/H), scaled."""
    wavelengths = _powers(head_dim, theta)
    match scaling:
        case None:
            return 1 / wavelengths
        case Linear(factor=factor):
            return 1 / wavelengths / np.float32(factor)
        case Llama3():
            return _llama3(1 / wavelengths, scaling)
        case Yarn():
            return _yarn(wavelengths, theta, scaling)


def _powers(head_dim: int, theta: float) -> Float32[np.ndarray, " R"]:
    """θ^(2i/H): radians a turn of pair i lasts."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    return np.float32(theta) ** exponents


def _llama3(plain: np.ndarray, scaling: Llama3) -> np.ndarray:
    """Waves longer than original/low are divided, those shorter than original/high are kept."""
    turns = scaling.original_positions * plain / np.float32(2 * math.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(kept, 0, 1)
    return ((1 - kept) * plain / scaling.factor + kept * plain).astype(np.float32)


def _yarn(wavelengths: np.ndarray, theta: float, scaling: Yarn) -> np.ndarray:
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
    positions_BT: Array, head_dim: int, theta: float, scaling: Dynamic
) -> Float[Array, "B T R"]:
    """The frequencies of each token by its own position."""
    length_BT1 = (positions_BT[..., None] + 1).astype(jnp.float32)
    stretch = scaling.factor * length_BT1 / scaling.original_positions - (scaling.factor - 1)
    beyond = length_BT1 > scaling.original_positions
    grown = theta * jnp.where(beyond, stretch, 1.0) ** (head_dim / (head_dim - 2))
    exponents = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    return jnp.where(beyond, 1 / grown**exponents, frequencies(head_dim, theta, None))
