"""Paged attention and its pages against loops in numpy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_kernels.paged_attention import api
from acim_kernels.paged_attention.pages import Pages, quantize, write

B, T, N, K, G, H, M = 3, 2, 4, 2, 4, 6, 5
#: Rows whose pages lie scattered; the last one shares its first page with the first.
TABLES = np.array([[7, 2, 9, 0, 0], [1, 4, 3, 8, 5], [7, 6, 0, 0, 0]])
POSITIONS = np.array([[9, 10], [17, 18], [3, 4]])


def cache(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    k, v = np.random.default_rng(seed).normal(size=(2, 10, K, G, H)).astype(np.float32)
    return k, v


def expected(q, k, v, window=None) -> np.ndarray:
    out = np.zeros(q.shape)
    for b, t, n in np.ndindex(B, T, N):
        last = POSITIONS[b, t]
        first = 0 if window is None else max(0, last - window + 1)
        where = [(TABLES[b, s // G], n // (N // K), s % G) for s in range(first, last + 1)]
        keys = np.array([k[at] for at in where], np.float64)
        scores = keys @ q[b, t, n] / np.sqrt(H)
        weights = np.exp(scores - scores.max())
        out[b, t, n] = weights @ np.array([v[at] for at in where]) / weights.sum()
    return out


@pytest.mark.parametrize("window", [None, 1, 5, 100])
def test_attention_follows_the_tables(window):
    k, v = cache()
    q = np.random.default_rng(1).normal(size=(B, T, N, H)).astype(np.float32)
    run = jax.jit(lambda q, pages, w: api.attention(q, pages, TABLES, POSITIONS, window=w))
    ours = run(q, Pages(jnp.asarray(k), jnp.asarray(v)), window)
    np.testing.assert_allclose(ours, expected(q, k, v, window), rtol=1e-5, atol=1e-5)


def test_a_row_does_not_feel_its_neighbours():
    """To the last bit, although a longer neighbour makes the loop over pages longer."""
    k, v = (jnp.asarray(x) for x in cache())
    q = jnp.asarray(np.random.default_rng(1).normal(size=(B, T, N, H)), jnp.float32)
    run = jax.jit(api.attention)
    whole = run(q, Pages(k, v), TABLES, POSITIONS)
    others = run(q.at[1].set(0.5), Pages(k, v), TABLES, np.where(POSITIONS > 16, 0, POSITIONS))
    np.testing.assert_array_equal(whole[0], others[0])
    np.testing.assert_array_equal(whole[2], others[2])


def test_int8_pages():
    """Written vectors come back within half a step, and attention is that of what came back."""
    draw = np.random.default_rng(3)
    shape = (10, K, G, H)
    zeros = [jnp.zeros(shape, jnp.int8), jnp.zeros(shape, jnp.int8)]
    scales = [jnp.zeros(shape[:-1]), jnp.zeros(shape[:-1])]
    k, v = draw.normal(size=(2, 1, 10 * G, K, H)).astype(np.float32)
    k[0, 5] = 0.0
    page, offset = np.divmod(np.arange(10 * G)[None], G)
    pages = write(Pages(*zeros, *scales), *map(jnp.asarray, (k, v, page, offset)))
    back = []
    for values, scale, given in ((pages.k, pages.k_scale, k), (pages.v, pages.v_scale, v)):
        assert values.dtype == jnp.int8 and scale is not None
        real = np.asarray(values, np.float32) * np.asarray(scale)[..., None]
        want = given[0].reshape(10, G, K, H).swapaxes(1, 2)
        step = np.abs(want).max(-1, keepdims=True) / 127
        assert np.all(np.abs(real - want) <= step / 2 * 1.001)
        back.append(real)
    q = draw.normal(size=(B, T, N, H)).astype(np.float32)
    ours = api.attention(jnp.asarray(q), pages, jnp.asarray(TABLES), jnp.asarray(POSITIONS))
    np.testing.assert_allclose(ours, expected(q, *back), rtol=1e-4, atol=1e-5)
    assert np.asarray(quantize(jnp.zeros((2, 3)))[0]).tolist() == [[0] * 3] * 2


def test_write_touches_its_places_only():
    k, v = (jnp.asarray(x) for x in cache())
    new = np.random.default_rng(4).normal(size=(2, 2, 1, K, H)).astype(np.float32)
    pages = write(Pages(k, v), *map(jnp.asarray, new), np.array([[3], [9]]), np.array([[1], [0]]))
    for ours, before, given in ((pages.k, k, new[0]), (pages.v, v, new[1])):
        want = np.asarray(before).copy()
        want[3, :, 1], want[9, :, 0] = given[0, 0], given[1, 0]
        np.testing.assert_array_equal(ours, want)


@pytest.mark.parametrize("window", [None, 1, 5])
@pytest.mark.parametrize("column", [0, 1])
def test_one_query_a_row(window, column: int):
    """The ragged way, as decoding goes: against the same loops, and to the bit by itself."""
    k, v = cache()
    pages = Pages(jnp.asarray(k), jnp.asarray(v))
    q = np.random.default_rng(5).normal(size=(B, T, N, H)).astype(np.float32)
    one, positions = q[:, column : column + 1], POSITIONS[:, column : column + 1]
    run = jax.jit(lambda q, tables, at: api.attention(q, pages, tables, at, window=window))
    ours = run(one, TABLES, positions)
    wanted = expected(q, k, v, window)[:, column : column + 1]
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)
    order = [2, 0, 1]
    turned = run(one[order], TABLES[order], positions[order])
    np.testing.assert_array_equal(np.asarray(ours)[order], turned)
    shorter = positions.copy()
    shorter[1] = 0
    np.testing.assert_array_equal(run(one, TABLES, shorter)[0], ours[0])
