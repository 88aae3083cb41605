"""EM with the exact E-step, on a problem small enough to enumerate: log P(r = 1) always rises."""

import numpy as np

from acim_jax.explore import strategy
from acim_jax.explore.config import ExploreConfig

#: Right responses by [query, decision, response]. No response solves more than two of the three
#: queries, and each of three does two of them; the last of each decision is always wrong.
RIGHT = np.array([
    [[1, 0, 0], [1, 0, 0]],
    [[1, 1, 0], [0, 0, 0]],
    [[0, 1, 0], [1, 0, 0]],
], float)  # fmt: skip
#: Each of the three a third of the time solves every query with probability 2/3, the best sum.
BEST = 3 * np.log(2 / 3)


def m_step(shares: np.ndarray, respond: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The optimum of Σ_x Σ_c s*(c|x)[log π(c) + log Q(x, c)] over π(c) and π(y|c), which queries
    share: the first in closed form, the second by multiplicative ascent to a fixed point."""
    for _ in range(500):
        value = np.einsum("cy,xcy->xc", respond, RIGHT)
        slope = np.einsum("xc,xcy->cy", shares / np.where(value > 0, value, 1.0), RIGHT)
        respond = respond * slope
        respond /= respond.sum(axis=1, keepdims=True)
    assert (slope <= shares.sum(axis=0)[:, None] * (1 + 1e-2)).all(), "no optimum: a gain is left"
    return shares.mean(axis=0), respond


def rounds(name: str, count: int, **settings) -> list[float]:
    """Σ_x log P(r = 1|x) before every round and after the last."""
    decide = np.array([0.9, 0.1])
    respond = np.array([[0.1, 0.4, 0.5], [0.2, 0.3, 0.5]])
    config, found = ExploreConfig(strategy=name, **settings), []
    for _ in range(count + 1):
        value = np.einsum("cy,xcy->xc", respond, RIGHT).clip(max=1.0)  # of rounding
        found.append(float(np.log(value @ decide).sum()))
        shares = strategy.reference(
            np.tile(decide, (3, 1)),
            value,
            config,
            counts_PC=np.ones((3, 2)),
            calls_PC=np.zeros((3, 2)),
        )
        decide, respond = m_step(shares, respond)
    return found


def test_the_exact_e_step_gains_every_round_and_ends_at_the_best():
    found = rounds("posterior", 30)
    assert (np.diff(found) > 0).all()
    assert found[0] < BEST - 1.0
    np.testing.assert_allclose(found[-1], BEST, atol=1e-4)


def test_other_e_steps_do_not_ascend():
    """The energy form settles elsewhere, and loses on its way: the test above can fail."""
    found = rounds("energy", 30, alpha=20.0)
    assert np.diff(found).min() < -1e-3
    assert found[-1] < BEST - 0.05
