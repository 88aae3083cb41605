"""Paged attention problems, and their answers by loops in numpy float64."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from acim_kernels.paged_attention.pages import Pages, quantize


class Shape(NamedTuple):
    B: int
    T: int
    K: int
    group: int
    G: int
    H: int
    M: int


class Problem(NamedTuple):
    q: jnp.ndarray
    pages: Pages
    tables: jnp.ndarray
    positions: jnp.ndarray
    window: int | None

    def expected(self) -> np.ndarray:
        q = np.asarray(self.q, np.float64)
        k, v = (_real(*pair) for pair in zip(self.pages[:2], self.pages[2:], strict=True))
        tables, positions = np.asarray(self.tables), np.asarray(self.positions)
        K, G, H = k.shape[1:]
        out = np.zeros(q.shape)
        for b, t, n in np.ndindex(*q.shape[:3]):
            last = positions[b, t]
            first = 0 if self.window is None else max(0, last - self.window + 1)
            s = np.arange(first, last + 1)
            at = (tables[b, s // G], n // (q.shape[2] // K), s % G)
            scores = k[at] @ q[b, t, n] / np.sqrt(H)
            weights = np.exp(scores - scores.max())
            out[b, t, n] = weights @ v[at] / weights.sum()
        return out


def _real(values, scale) -> np.ndarray:
    real = np.asarray(values, np.float64)
    return real if scale is None else real * np.asarray(scale, np.float64)[..., None]


def draw(shape: Shape, dtype: str, window: int | None = None) -> Problem:
    """Rows of 1 token, of a full table and of lengths between, their pages scattered.

    The trash page, to which tables point behind a row's end, and a page of no row hold NaN: what
    reads them shows it. dtype: float32, bfloat16 or int8 (queries are float32 then).
    """
    B, T, K, group, G, H, M = shape
    rng = np.random.default_rng(0)
    k, v = rng.normal(size=(2, 2 + B * M, K, G, H)).astype(np.float32)
    unused = [0, len(k) - 1]
    tables = 1 + rng.permutation(B * M).reshape(B, M)
    last = rng.integers(T - 1, M * G, size=B)
    last[0], last[-1] = T - 1, M * G - 1
    for row, end in zip(tables, last // G, strict=True):
        row[end + 1 :] = 0
    positions = last[:, None] - np.arange(T)[::-1]
    exact = jnp.float32 if dtype == "int8" else jnp.dtype(dtype)
    q = jnp.asarray(rng.normal(size=(B, T, K * group, H)), exact)
    if dtype == "int8":
        (k8, k_scale), (v8, v_scale) = quantize(jnp.asarray(k)), quantize(jnp.asarray(v))
        lost = np.array(unused)
        pages = Pages(k8, v8, k_scale.at[lost].set(jnp.nan), v_scale.at[lost].set(jnp.nan))
    else:
        k[unused] = v[unused] = np.nan
        pages = Pages(jnp.asarray(k, exact), jnp.asarray(v, exact))
    return Problem(q, pages, jnp.asarray(tables), jnp.asarray(positions), window)
