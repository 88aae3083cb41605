"""The kernels of paged attention, imitated on the CPU, against loops in numpy float64.

The imitated TPU has its memories and copies: what was never copied reads as NaN.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_kernels.paged_attention import api, gpu, tpu
from acim_kernels.paged_attention.pages import Pages
from tests.support.paged import Shape, draw

KERNELS = {
    "tpu": functools.partial(tpu.attention, interpret=True),
    "gpu": functools.partial(gpu.attention, interpret=True),
}
FLOAT32, ROUNDED = 2e-6, 4e-3

CASES = [
    (Shape(B=3, T=1, K=2, group=3, G=16, H=128, M=9), "float32", None, FLOAT32),
    (Shape(B=3, T=1, K=2, group=3, G=16, H=128, M=9), "bfloat16", None, ROUNDED),
    (Shape(B=3, T=1, K=2, group=8, G=128, H=128, M=3), "int8", None, FLOAT32),
    (Shape(B=1, T=1, K=1, group=1, G=64, H=64, M=1), "float32", None, FLOAT32),
    (Shape(B=2, T=5, K=2, group=1, G=32, H=64, M=5), "float32", 17, FLOAT32),
    (Shape(B=2, T=80, K=1, group=4, G=16, H=128, M=8), "float32", 40, FLOAT32),
    (Shape(B=2, T=3, K=1, group=7, G=24, H=128, M=70), "float32", None, FLOAT32),
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("shape", "dtype", "window", "tolerance"), CASES)
def test_kernels_compute_what_the_loops_do(kernel, shape, dtype, window, tolerance):
    problem = draw(shape, dtype, window)
    reach = None if window is None else jnp.int32(window)
    ours = jax.jit(KERNELS[kernel])(*problem[:4], reach)
    assert ours.dtype == problem.q.dtype
    np.testing.assert_allclose(
        np.asarray(ours, np.float64), problem.expected(), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_row_does_not_feel_its_neighbours(kernel):
    """To the last bit: the second row becomes short, and the order of the work another."""
    q, pages, tables, positions, _ = draw(Shape(3, 1, 1, 2, 16, 128, 140), "float32")
    positions = positions.at[1].set(2000)
    run = jax.jit(KERNELS[kernel])
    whole, others = (run(q, pages, tables, positions.at[1].set(last)) for last in (2000, 3))
    np.testing.assert_array_equal(whole[0], others[0])
    np.testing.assert_array_equal(whole[2], others[2])
    assert np.abs(whole[1] - others[1]).max() > 0.01


def test_rows_beyond_the_scalar_memory_are_a_second_call(monkeypatch):
    monkeypatch.setattr(tpu, "_SCALARS", 4 * 5)
    problem = draw(Shape(B=3, T=1, K=1, group=2, G=16, H=128, M=5), "float32")
    ours = tpu.attention(*problem[:4], interpret=True)
    np.testing.assert_allclose(ours, problem.expected(), rtol=FLOAT32, atol=FLOAT32)


def lowered(shape: Shape, platform: str, dtype: str = "bfloat16", implementation="auto") -> str:
    """What a CPU compiles for another platform."""
    problem = draw(shape, dtype)
    run = jax.jit(functools.partial(api.attention, implementation=implementation))
    return run.trace(*problem[:4]).lower(lowering_platforms=(platform,)).as_text()


def test_the_platform_compiled_for_chooses_not_the_one_that_compiles():
    shape = Shape(B=2, T=1, K=1, group=2, G=16, H=128, M=2)
    assert "tpu_custom_call" in lowered(shape, "tpu")
    assert "tpu_custom_call" not in lowered(shape, "tpu", implementation="reference")
    assert "custom_call" not in lowered(shape, "cpu")
    assert "tpu_custom_call" not in lowered(shape._replace(H=64), "tpu")
    assert "tpu_custom_call" not in lowered(shape, "tpu", "int8")
    assert "xla.gpu.triton" in lowered(shape, "cuda")
    assert "custom_call" not in lowered(shape, "cuda", implementation="reference")


@pytest.mark.parametrize(
    ("implementation", "shape", "dtype", "message"),
    [
        ("tpu", Shape(1, 1, 1, 1, 16, 64, 1), "bfloat16", "heads of 64, where whole vectors"),
        ("tpu", Shape(1, 1, 1, 1, 12, 128, 1), "bfloat16", "pages of 12 tokens"),
        ("tpu", Shape(1, 1, 1, 1, 64, 128, 1), "int8", "int8 pages of 64 tokens"),
        ("tpu", Shape(1, 1, 1, 1, 16, 128, 1), "float16", "float16 is no type"),
        ("gpu", Shape(1, 1, 1, 1, 16, 96, 1), "float32", "heads of 96, where a power of two"),
        ("gpu", Shape(1, 1, 1, 65, 16, 64, 1), "float32", "65 query heads a key head"),
    ],
)
def test_what_a_kernel_asked_for_cannot_do_is_named(implementation, shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        api.attention(*draw(shape, dtype)[:4], implementation=implementation)


def test_a_cache_whose_elements_pallas_would_misnumber_is_left_to_the_reference():
    array = jax.ShapeDtypeStruct((16385, 8, 128, 128), jnp.int8)
    pages = Pages(array, array, *[jax.ShapeDtypeStruct(array.shape[:3], jnp.float32)] * 2)
    assert "Pallas misnumbers" in (gpu.limit(jnp.zeros((1, 1, 8, 128)), pages) or "")
