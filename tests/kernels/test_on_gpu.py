"""The GPU's kernels on a GPU, not imitated: `pytest -m gpu tests/kernels`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_kernels.attention import gpu as causal_gpu
from acim_kernels.attention import reference as causal_reference
from acim_kernels.paged_attention import api
from tests.kernels import test_causal_attention, test_paged_kernels
from tests.support.paged import Shape, draw

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="there is no GPU"),
    # Since jax 0.11; the backend is still in 0.12.
    pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated"),
]

CASES = [
    *test_paged_kernels.CASES,
    # The shape of Qwen2.5-0.5B: 14 query heads over 2 key heads of 64.
    (Shape(B=5, T=1, K=2, group=7, G=32, H=64, M=20), "bfloat16", None, test_paged_kernels.ROUNDED),
    (Shape(B=2, T=128, K=2, group=7, G=32, H=64, M=8), "bfloat16", None, 2e-2),
]


@pytest.mark.parametrize(("shape", "dtype", "window", "tolerance"), CASES)
def test_paged_attention(shape, dtype, window, tolerance):
    problem = draw(shape, dtype, window)
    reach = None if window is None else jnp.int32(window)
    run = jax.jit(functools.partial(api.attention, window=reach, implementation="gpu"))
    ours = run(*problem[:4])
    np.testing.assert_allclose(
        np.asarray(ours, np.float64), problem.expected(), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("window", [None, 40])
def test_causal_attention_and_its_gradient(window):
    """cuDNN in bfloat16, against numpy's loops and the reference's gradient in float32."""
    q, k, v = test_causal_attention.draw(2, 128, 14, 2, 64)
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)]
    exact = [np.asarray(x, np.float32) for x in rounded]
    run = jax.jit(functools.partial(causal_gpu.attention, window=window))
    np.testing.assert_allclose(
        np.asarray(run(*rounded), np.float32),
        test_causal_attention.expected(*exact, window),
        rtol=2e-2,
        atol=2e-2,
    )

    def loss(attention, *arrays):
        return jnp.sum(jnp.sin(3 * attention(*arrays, window).astype(jnp.float32)))

    ours = jax.grad(functools.partial(loss, causal_gpu.attention), (0, 1, 2))(*rounded)
    theirs = jax.grad(functools.partial(loss, causal_reference.attention), (0, 1, 2))(
        *map(jnp.asarray, exact)
    )
    for one, other in zip(ours, theirs, strict=True):
        scale = float(jnp.abs(other).max())
        worst = float(jnp.abs(one.astype(jnp.float32) - other).max())
        assert worst < 3e-2 * scale, (worst, scale)
