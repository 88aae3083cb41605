"""Causal attention and its kernels against loops in numpy float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from acim_kernels.attention import api, gpu, reference, tpu
from acim_kernels.attention.sharding import Sharding, on_each_shard


def expected(q, k, v, window=None) -> np.ndarray:
    B, T, N, H = q.shape
    out = np.zeros(q.shape)
    for b, t, n in np.ndindex(B, T, N):
        seen = slice(0 if window is None else max(t + 1 - int(window), 0), t + 1)
        head = n // (N // k.shape[1])
        scores = k[b, head, seen].astype(np.float64) @ q[b, t, n] / np.sqrt(H)
        weights = np.exp(scores - scores.max())
        out[b, t, n] = weights @ v[b, head, seen] / weights.sum()
    return out


def draw(B, T, N, K, H) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    shapes = ((B, T, N, H), (B, K, T, H), (B, K, T, H))
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


@pytest.mark.parametrize("window", [None, 1, 3, jnp.int32(3), jnp.iinfo(jnp.int32).max])
def test_a_softmax_over_what_came_before(window):
    """Two query heads share each key head; junk lies behind the first row's end."""
    q, k, v = draw(2, 7, 4, 2, 6)
    k[0, :, 5:] = 1e6
    ours = api.attention(*map(jnp.asarray, (q, k, v)), window=window)
    np.testing.assert_allclose(ours[0, :5], expected(q, k, v, window)[0, :5], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours[1], expected(q, k, v, window)[1], rtol=1e-5, atol=1e-5)


#: The kernels as they run without their hardware.
KERNELS = {
    "tpu": functools.partial(tpu.attention, interpret=True),
    "gpu": functools.partial(gpu.attention, backend="xla"),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("T", "N", "K", "window"), [(150, 4, 2, None), (128, 3, 1, 40), (5, 2, 2, 1), (20, 2, 1, 500)]
)
def test_kernels_compute_what_the_loops_do(kernel, T, N, K, window):
    q, k, v = draw(2, T, N, K, 64)
    ours = jax.jit(functools.partial(KERNELS[kernel], window=window))(q, k, v)
    np.testing.assert_allclose(ours, expected(q, k, v, window), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("window", [None, 33])
def test_kernels_have_the_references_gradient(kernel, window):
    """Of a sum over the first 140 of 150 positions: what stands behind a row's end adds nothing."""
    q, k, v = draw(2, 150, 4, 2, 64)
    mix = np.random.default_rng(1).normal(size=(2, 140, 4, 64)).astype(np.float32)

    def gradients(attention):
        def total(q, k, v):
            return jnp.sum(attention(q, k, v, window=window)[:, :140] * mix)

        return jax.jit(jax.grad(total, argnums=(0, 1, 2)))(q, k, v)

    ours, wanted = gradients(KERNELS[kernel]), gradients(reference.attention)
    for one, want in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(one, want, rtol=1e-4, atol=1e-5)
        assert np.abs(want).max() > 0.1
    np.testing.assert_array_equal(ours[1][:, :, 140:], 0)


def test_each_shard_computes_its_rows_and_heads():
    mesh = jax.make_mesh((2, 2), ("rows", "heads"), axis_types=(AxisType.Auto,) * 2)
    sharding = Sharding(
        mesh, PartitionSpec("rows", None, "heads", None), PartitionSpec("rows", "heads", None, None)
    )
    q, k, v = draw(4, 20, 4, 2, 64)
    run = jax.jit(on_each_shard(KERNELS["tpu"], sharding))
    np.testing.assert_allclose(run(q, k, v), expected(q, k, v), rtol=1e-5, atol=1e-5)


def test_what_a_kernel_asked_for_cannot_do_is_named():
    q, k, v = map(jnp.asarray, draw(1, 4, 2, 1, 6))
    with pytest.raises(ValueError, match="heads of 6, where a multiple of 64"):
        api.attention(q, k, v, implementation="tpu")
    with pytest.raises(ValueError, match="float32, where cuDNN takes bfloat16"):
        api.attention(q, k, v, implementation="gpu")
    with pytest.raises(ValueError, match="window is known at run time"):
        api.attention(q, k, v, window=jnp.int32(3), implementation="tpu")
    halves = [x.astype(jnp.bfloat16) for x in map(jnp.asarray, draw(1, 4, 2, 1, 64))]
    with jax.default_matmul_precision("highest"), pytest.raises(ValueError, match="'highest'"):
        api.attention(*halves, implementation="tpu")
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,))
    split = Sharding(mesh, PartitionSpec(None, "x"), PartitionSpec(None, None, "x"))
    with pytest.raises(ValueError, match="the sequence or the heads' width is split"):
        api.attention(q, k, v, sharding=split, implementation="tpu")
    apart = Sharding(mesh, PartitionSpec(None, None, "x"), PartitionSpec())
    with pytest.raises(ValueError, match="queries and keys are split differently"):
        api.attention(q, k, v, sharding=apart, implementation="tpu")
