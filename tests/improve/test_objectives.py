"""The losses against double loops in numpy float64, and their degenerate inputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.improve import objectives

EPSILON = 0.2
B, T = 3, 5


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    """Ratios inside the band and beyond either end of it, for either sign of A; row 2 is masked."""
    draw = np.random.default_rng(0)
    logprobs = draw.normal(-2.0, 0.3, (B, T))
    weights = np.array([[0, 1, 1, 0, 2], [0, 0.5, 1, 1, 0], [0, 0, 0, 0, 0]], float)
    drift = np.array([[9, 0.0, 0.5, 9, -0.5], [9, 0.1, 0.4, -0.6, 9], [9, 9, 9, 9, 9]])
    return {
        "logprobs": logprobs,
        "behaviour_logprobs": logprobs - drift,
        "advantages": np.array([1.5, -0.7, 3.0]),
        "weights": weights,
    }


def loss(batch, *, num_targets=6.0):
    as_float32 = {name: jnp.asarray(x, jnp.float32) for name, x in batch.items()}
    return objectives.clipped_policy_loss(
        **as_float32, num_targets=jnp.float32(num_targets), clip_epsilon=EPSILON
    )


def gradient(batch, **settings) -> np.ndarray:
    rest = {k: v for k, v in batch.items() if k != "logprobs"}
    of = lambda logprobs: loss({"logprobs": logprobs, **rest}, **settings)[0]  # noqa: E731
    return np.asarray(jax.grad(of)(jnp.asarray(batch["logprobs"], jnp.float32)))


def loop(batch, num_targets=6.0):
    """Value, gradient by logprobs, and the sums, one token at a time."""
    total, grad = 0.0, np.zeros((B, T))
    sums = dict.fromkeys(("ratio", "clipped", "kl", "targets"), 0.0)
    for b in range(B):
        for t in range(T):
            weight, advantage = batch["weights"][b, t], batch["advantages"][b]
            if weight == 0:
                continue
            ratio = np.exp(batch["logprobs"][b, t] - batch["behaviour_logprobs"][b, t])
            clipped = min(max(ratio, 1 - EPSILON), 1 + EPSILON)
            total -= weight * min(ratio * advantage, clipped * advantage)
            if ratio * advantage <= clipped * advantage:
                grad[b, t] = -weight * ratio * advantage / num_targets
            sums["ratio"] += ratio
            sums["clipped"] += ratio != clipped
            sums["kl"] += ratio - 1 - np.log(ratio)
            sums["targets"] += 1
    return total / num_targets, grad, sums


def test_policy_loss_is_the_loop(batch):
    value, sums = loss(batch)
    expected, expected_gradient, expected_sums = loop(batch)
    assert expected_sums["clipped"] == 4, "both ends of the band, for both signs"
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient(batch), expected_gradient, rtol=1e-5, atol=1e-7)
    assert (expected_gradient == 0).sum() > (batch["weights"] == 0).sum(), "some are clipped"
    for name, total in expected_sums.items():
        np.testing.assert_allclose(getattr(sums, name), total, rtol=1e-4, err_msg=name)


def test_truncated_sampling_would_silence_negative_advantages():
    """Why `RunConfig` refuses top-k, top-p and min-p in training: μ is 1/0.7 times π where the kept
    tokens hold 0.7, so the first step's ratio is 0.7, below the band. By hand: min(0.7·A, 0.8·A) is
    constant for A = −1, and what was bad is not unlearned; for A = 1 it is 0.7."""
    logprob = np.full((2, 1), -1.0)
    batch = {
        "logprobs": logprob,
        "behaviour_logprobs": logprob - np.log(0.7),
        "advantages": np.array([-1.0, 1.0]),
        "weights": np.ones((2, 1)),
    }
    np.testing.assert_allclose(loss(batch, num_targets=1.0)[0], 0.8 - 0.7, rtol=1e-5)
    np.testing.assert_allclose(gradient(batch, num_targets=1.0), [[0.0], [-0.7]], rtol=1e-5)
    batch["behaviour_logprobs"] = logprob  # π over the same kept set as μ
    np.testing.assert_allclose(gradient(batch, num_targets=1.0), [[1.0], [-1.0]], rtol=1e-5)


def test_ratio_one_is_reinforce(batch):
    """Right after sampling the gradient is that of −Σ w A log π / n."""
    batch["behaviour_logprobs"] = batch["logprobs"].copy()
    expected = -batch["weights"] * batch["advantages"][:, None] / 6.0
    np.testing.assert_allclose(gradient(batch), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(batch)[1].kl, 0.0, atol=1e-6)


def test_masked_columns_may_hold_anything(batch):
    expected, expected_gradient, _ = loop(batch)
    masked = batch["weights"] == 0
    for junk in (-np.inf, np.inf, np.nan, 1e30):
        for name in ("logprobs", "behaviour_logprobs"):
            changed = {k: v.copy() for k, v in batch.items()}
            changed[name][masked] = junk
            np.testing.assert_allclose(loss(changed)[0], expected, rtol=1e-5)
            ours = gradient(changed)
            np.testing.assert_allclose(ours, expected_gradient, rtol=1e-5, atol=1e-7)
            np.testing.assert_array_equal(ours[masked], 0)


def test_nothing_to_learn_is_zero(batch):
    for change in ({"weights": np.zeros((B, T))}, {"advantages": np.zeros((B,))}):
        value, sums = loss(batch | change)
        assert float(value) == 0.0
        np.testing.assert_array_equal(gradient(batch | change), 0)
        assert all(np.isfinite(float(s)) for s in sums)


def test_rows_of_one_column():
    batch = {
        "logprobs": np.array([[-1.0], [-2.0]]),
        "behaviour_logprobs": np.array([[-1.1], [-2.0]]),
        "advantages": np.array([2.0, -1.0]),
        "weights": np.array([[1.0], [1.0]]),
    }
    value, _ = loss(batch, num_targets=2.0)
    np.testing.assert_allclose(value, -(np.exp(0.1) * 2 - 1.0) / 2, rtol=1e-5)


def test_splitting_the_batch_adds_up(batch):
    """Every part is divided by the global count, so the sums of values and gradients agree."""
    parts = [{k: v[b : b + 1] for k, v in batch.items()} for b in range(B)]
    np.testing.assert_allclose(sum(loss(p)[0] for p in parts), loop(batch)[0], rtol=1e-5)
    stacked = np.concatenate([gradient(p) for p in parts])
    np.testing.assert_allclose(stacked, loop(batch)[1], rtol=1e-5, atol=1e-7)


def test_likelihood():
    logprobs = np.array([[0.0, -1.0, -np.inf], [0.0, -3.0, -0.5]])
    weights = np.array([[0, 1.0, 0], [0, 0.25, 2.0]])
    of = functools.partial(objectives.likelihood_loss, total_weight=jnp.float32(3.25))
    arrays = jnp.asarray(logprobs, jnp.float32), jnp.asarray(weights, jnp.float32)
    value, grad = jax.value_and_grad(of)(*arrays)
    np.testing.assert_allclose(value, (1.0 + 0.75 + 1.0) / 3.25, rtol=1e-6)
    np.testing.assert_allclose(grad, -weights / 3.25, rtol=1e-6)
    nothing, grad = jax.value_and_grad(of)(arrays[0], 0 * arrays[1])
    assert float(nothing) == 0.0
    np.testing.assert_array_equal(grad, 0)


def test_decision_cross_entropy():
    """Unnormalised: the gradient by ℓ is −s*/n in every used row; padding has none."""
    decision_logprobs = np.array([[-1.0, -4.0], [-0.5, -2.0], [-1e30, -1e30], [-1e30, -np.inf]])
    strategy = np.array([[0.2, 0.8], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    of = functools.partial(objectives.decision_cross_entropy, num_problems=jnp.float32(2.0))
    value, grad = jax.value_and_grad(of)(
        jnp.asarray(decision_logprobs, jnp.float32), jnp.asarray(strategy, jnp.float32)
    )
    np.testing.assert_allclose(value, (0.2 * 1 + 0.8 * 4 + 0.5) / 2, rtol=1e-6)
    np.testing.assert_allclose(grad, -strategy / 2, rtol=1e-6)
