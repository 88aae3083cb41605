"""Top-k, top-p and min-p against sorting in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.sampling.truncate import Truncation, keep

V = 300


def expected(scores: np.ndarray, top_k: int, top_p: float, min_p: float) -> set[int]:
    """The ids that remain, one filter after another, by sorting."""
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    mass = np.exp(scores[order].astype(np.float64) - scores.max())
    if top_k:
        order, mass = order[:top_k], mass[:top_k]
    if top_p < 1:
        enough = int(np.searchsorted(np.cumsum(mass), top_p * mass.sum())) + 1
        order, mass = order[:enough], mass[:enough]
    return {int(i) for i, m in zip(order, mass, strict=True) if m >= min_p}


@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_equals_sorting(scale: float):
    draw = np.random.default_rng(int(scale * 10))
    settings = [(0, 1.0, 0.0), (1, 1.0, 0.0), (40, 1.0, 0.0), (V + 5, 1.0, 0.0), (0, 0.9, 0.0)]
    settings += [(0, 0.05, 0.0), (0, 1.0, 0.2), (30, 0.8, 0.0), (50, 0.95, 0.01), (7, 0.5, 0.3)]
    scores = draw.normal(0, scale, (len(settings), V)).astype(np.float32)
    columns = [np.array(c) for c in zip(*settings, strict=True)]
    truncation = Truncation(
        jnp.asarray(columns[0], jnp.int32), *(jnp.asarray(c, jnp.float32) for c in columns[1:])
    )
    kept = np.asarray(jax.jit(keep)(jnp.asarray(scores), truncation))
    for row, one, setting in zip(kept, scores, settings, strict=True):
        assert set(np.flatnonzero(row).tolist()) == expected(one, *setting), setting


def test_ties_stay_together_and_impossible_tokens_out():
    scores = jnp.array([[1.0, 1.0, 1.0, 0.0, -jnp.inf], [-3.0, -2.0, -2.0, -5.0, -jnp.inf]])
    off = jnp.ones((2,)), jnp.zeros((2,))
    kept = keep(scores, Truncation(jnp.array([2, 1]), *off))
    assert np.asarray(kept).tolist() == [
        [True] * 3 + [False] * 2,
        [False, True, True] + [False] * 2,
    ]
    most = Truncation(jnp.zeros((2,), jnp.int32), jnp.full((2,), 0.999999), jnp.zeros((2,)))
    assert not np.asarray(keep(scores, most))[:, 4].any()
