"""Rotary positions against complex numbers in numpy."""

import jax.numpy as jnp
import numpy as np

from acim_jax.model import rope

H = 6


def test_rotation_is_a_complex_phase():
    """Pair (i, i + H/2) is a complex number turned by p·θ^(−2i/H)."""
    x = np.random.default_rng(1).normal(size=(1, 3, 2, H)).astype(np.float32)
    positions = np.array([[0, 1, 300]])
    angles = rope.angles(jnp.asarray(positions), H, 10000.0)
    ours = np.asarray(rope.rotate(jnp.asarray(x), angles))
    numbers = x[..., : H // 2].astype(np.float64) + 1j * x[..., H // 2 :]
    angles = positions[0][:, None] * 10000.0 ** (-2 * np.arange(H // 2) / H)
    turned = numbers * np.exp(1j * angles)[None, :, None]
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
