"""Gumbel-max sampling against the softmax computed in numpy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax import rng
from acim_jax.sampling import choose
from acim_jax.sampling.truncate import Truncation


def off(rows: int) -> Truncation:
    return Truncation(
        np.zeros(rows, np.int32), np.ones(rows, np.float32), np.zeros(rows, np.float32)
    )


@jax.jit
def sample(logits, temperatures, keys, positions, truncation=None) -> choose.Choice:
    chosen = off(len(logits)) if truncation is None else truncation
    return choose.choose(logits, temperatures, jax.tree.map(jnp.asarray, chosen), keys, positions)


LOGITS = np.array([2.0, 0.5, -1.0, 1.5, -jnp.inf], np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def draw(temperature: float, rows: int = 4000) -> choose.Choice:
    keys = np.stack([rng.rollout_key(0, 0, "p", "native", i) for i in range(rows)])
    return sample(
        jnp.broadcast_to(LOGITS, (rows, len(LOGITS))),
        jnp.full((rows,), temperature),
        keys,
        jnp.full((rows,), 7, jnp.int32),
    )


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_draws_are_those_of_the_softmax(temperature: float):
    """Frequencies within 4 standard errors; log μ is that of the tempered distribution."""
    choice = draw(temperature)
    expected = softmax(LOGITS / temperature)
    tokens = np.asarray(choice.tokens)
    share = np.bincount(tokens, minlength=len(LOGITS)) / len(tokens)
    error = np.sqrt(expected * (1 - expected) / len(tokens))
    assert share[4] == 0
    np.testing.assert_array_less(np.abs(share - expected)[:4], 4 * error[:4])
    np.testing.assert_allclose(choice.logprobs, np.log(expected[tokens]), rtol=0, atol=1e-6)


def test_greedy_rows_beside_sampled_ones():
    logits = jnp.asarray(np.stack([LOGITS, LOGITS[::-1], LOGITS]))
    keys = np.array([[1, 2], [3, 4], [5, 6]], np.uint32)
    choice = sample(logits, jnp.array([0.0, 0.0, 1.0]), keys, jnp.array([0, 3, 0]))
    assert choice.tokens[:2].tolist() == [0, 4]
    np.testing.assert_allclose(choice.logprobs[:2], np.log(softmax(LOGITS)[0]), atol=1e-6)
    np.testing.assert_allclose(choice.margins[:2], [0.5, 0.5], atol=1e-6)


def test_margin_is_the_lead_of_the_perturbed_score():
    rows = 50
    keys = np.stack([rng.rollout_key(1, 0, "p", "code", i) for i in range(rows)])
    positions = jnp.arange(rows)
    choice = sample(jnp.broadcast_to(LOGITS, (rows, 5)), jnp.full((rows,), 0.5), keys, positions)
    noise = np.asarray(rng.gumbel(rng.position_keys(jnp.asarray(keys), positions), 5), np.float64)
    scores = LOGITS / 0.5 + noise
    best = np.sort(scores, axis=1)
    np.testing.assert_array_equal(choice.tokens, scores.argmax(1))
    np.testing.assert_allclose(choice.margins, best[:, -1] - best[:, -2], rtol=1e-4, atol=1e-5)


def test_a_draw_depends_on_key_and_position_alone():
    """A row's token is the same whatever stands in the other rows, and how many there are."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(6, 40)), jnp.float32)
    keys = np.stack([rng.rollout_key(0, 1, f"q{i}", "text", 0) for i in range(6)])
    positions, temperatures = jnp.arange(6) + 3, jnp.ones((6,))
    whole = sample(logits, temperatures, keys, positions)
    part = jnp.array([4, 1])
    alone = sample(logits[part], temperatures[:2], keys[np.array([4, 1])], positions[part])
    np.testing.assert_array_equal(alone.tokens, whole.tokens[part])
    moved = sample(logits, temperatures, keys, positions + 1)
    assert (np.asarray(moved.tokens) != np.asarray(whole.tokens)).any()


def test_truncated_rows_beside_whole_ones():
    """Draws, and both log-probs, of a truncated distribution: the three best of five."""
    rows = 2000
    keys = np.stack([rng.rollout_key(2, 0, "p", "native", i) for i in range(rows)])
    cut = off(rows)
    cut.top_k[::2] = 3
    logits = jnp.broadcast_to(LOGITS, (rows, len(LOGITS)))
    choice = sample(logits, jnp.ones((rows,)), keys, jnp.zeros((rows,), jnp.int32), cut)
    whole, tokens = np.log(softmax(LOGITS)[[0, 3, 1, 2]]), np.asarray(choice.tokens)
    three = dict(zip([0, 3, 1], whole[:3] - np.log(np.exp(whole[:3]).sum()), strict=True))
    assert set(tokens[::2].tolist()) == {0, 1, 3} and 2 in tokens[1::2]
    expected = [three[t] for t in tokens[::2].tolist()]
    np.testing.assert_allclose(choice.logprobs[::2], expected, atol=1e-6)
    np.testing.assert_array_equal(choice.logprobs[1::2], choice.full_logprobs[1::2])
    full = np.log(softmax(LOGITS)[tokens])
    np.testing.assert_allclose(choice.full_logprobs, full, atol=1e-6)
    share = np.mean(tokens[::2] == 0)
    probability = np.exp(three[0])
    assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / (rows / 2))
