"""Attention and rotary positions against loops in numpy float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.model import rope
from acim_kernels.attention import api as kernels

B, T, N, K, H, S = 2, 3, 4, 2, 6, 7


@pytest.mark.parametrize("window", [None, 1, 3, jnp.int32(3), jnp.iinfo(jnp.int32).max])
def test_attend_is_a_softmax_over_what_came_before(window):
    """Queries at scattered positions; two query heads share each key head; junk lies behind."""
    draw = np.random.default_rng(0)
    q = draw.normal(size=(B, T, N, H)).astype(np.float32)
    k, v = draw.normal(size=(2, B, K, S, H)).astype(np.float32)
    positions = np.array([[0, 2, 5], [3, 4, 6]])
    for b, row in enumerate(positions):
        k[b, :, row.max() + 1 :] = 1e6
    ours = kernels.attention(*map(jnp.asarray, (q, k, v, positions)), window=window)
    for b in range(B):
        for t in range(T):
            last = positions[b, t] + 1
            seen = slice(0 if window is None else max(last - int(window), 0), last)
            for n in range(N):
                head = n // (N // K)
                scores = k[b, head, seen].astype(np.float64) @ q[b, t, n] / np.sqrt(H)
                weights = np.exp(scores - scores.max())
                expected = weights @ v[b, head, seen] / weights.sum()
                np.testing.assert_allclose(ours[b, t, n], expected, rtol=1e-5, atol=1e-5)


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
