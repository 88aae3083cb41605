"""The host loop of the M-step."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acim_jax import rng
from acim_jax.improve import fit, packing, state
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenRow
from acim_jax.improve.training_set import TrainingSet
from acim_jax.markup import prefix_rows
from acim_jax.model import scoring
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG

MODEL = dataclasses.replace(CONFIG, num_layers=1)
SETTINGS = ImproveConfig(
    max_mismatch=1e9,
    lr=1e-2,
    minibatches=3,
    microbatch_rows=4,
    buckets=(12,),
    replay_rows=2,
    replay_weight=0.5,
)
LEARNER = Learner(MODEL, state.optimizer(ImproveConfig()))


def fresh() -> state.TrainState:
    return state.create(tiny_models.make_params(MODEL), LEARNER.optimiser)


def row(n: int, advantage: float, first: int) -> TokenRow:
    weights = (np.arange(n) > 1).astype(np.float32)
    ids = np.arange(first, first + n, dtype=np.int32)
    return TokenRow(ids, weights, np.full((n,), -7.0, np.float32), advantage)


ROWS = [row(5 + i % 4, (-1.0) ** i, 20 * i) for i in range(7)]
REPLAY = [row(6, 0.0, 300), row(8, 0.0, 320)]


def decision_batches(count: int) -> list[packing.DecisionBatch]:
    prompts = [np.array([2, 70, 3], np.int32), np.array([2, 80, 3], np.int32)]
    prefixes = [[np.array([300], np.int32)], [np.array([400], np.int32)]]
    strategies = [np.array([0.1, 0.9])] * 2
    rows = prefix_rows.pack(prompts, prefixes, width=8, num_problems=2)
    batch = packing.decision_batch(rows, strategies)
    return [batch] * count


def training_set(rows=(), decisions=(), replay=(REPLAY,) * 3, drawn_tokens=40.0) -> TrainingSet:
    return TrainingSet(rows, 1.0, drawn_tokens, 12.0, 6, decisions, replay)


def improve(train, what: TrainingSet, config=SETTINGS, *, seed=0, iteration=1):
    return fit.improve(train, what, LEARNER, config, seed=seed, iteration=iteration, lr=1e-2)


def same(one, other) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_an_epoch_sees_every_row_once(monkeypatch: pytest.MonkeyPatch):
    """Spied on at the packing of microbatches, through which all rows go."""
    seen: list[collections.Counter[int]] = []
    original = packing.microbatches

    def spy(rows, buckets, rows_per_batch):
        seen.append(collections.Counter(int(r.token_ids[0]) for r in rows))
        return original(rows, buckets, rows_per_batch)

    monkeypatch.setattr(packing, "microbatches", spy)
    config = dataclasses.replace(SETTINGS, epochs=2, replay_weight=0.0)
    train, metrics = improve(fresh(), training_set(ROWS, replay=()), config)
    # The first minibatch goes once more: sampler and trainer are compared on it.
    measured, *minibatches = [counter for counter in seen if counter]
    assert measured == minibatches[0]
    assert [sum(c.values()) for c in minibatches] == [3, 2, 2] * 2
    everything = collections.Counter(int(r.token_ids[0]) for r in ROWS)
    assert sum(minibatches[:3], collections.Counter()) == everything
    assert sum(minibatches[3:], collections.Counter()) == everything
    assert minibatches[:3] != minibatches[3:], "epochs are shuffled apart"
    assert metrics.steps == 6 == int(train.step)
    assert metrics.target_tokens == 2 * sum(r.num_targets for r in ROWS)


def test_repeats_by_seed_and_iteration():
    what = training_set(ROWS, decision_batches(3))
    once, first = improve(fresh(), what)
    again, second = improve(fresh(), what)
    assert first == second
    assert same(once.params, again.params)
    for changed in ({"seed": 1}, {"iteration": 2}):
        other, _ = improve(fresh(), what, **changed)
        assert not same(once.params, other.params)


def test_terms_that_are_missing():
    """No rows, no decisions, no replay: each is left out, and its loss is None, not 0."""
    start = fresh()
    copy = jax.tree.map(jnp.copy, start.params)
    alone = dataclasses.replace(SETTINGS, replay_weight=0.0)
    unchanged, metrics = improve(start, training_set(replay=()), alone)
    assert same(unchanged.params, copy) and int(unchanged.step) == 0
    assert metrics.policy_loss is None and metrics.grad_norm is None
    assert metrics.ratio_mean is None and metrics.steps == 0
    # a batch in which no query carries a signal is no step either
    empty = [batch._replace(strategy=0 * batch.strategy) for batch in decision_batches(3)]
    unchanged, _ = improve(unchanged, training_set((), empty, ()), alone)
    assert int(unchanged.step) == 0
    for what, present in (
        (training_set(ROWS), {"policy", "replay"}),
        (training_set((), decision_batches(3)), {"decision", "replay"}),
        (training_set(), {"replay"}),
    ):
        train, metrics = improve(fresh(), what)
        named = {
            n for n in ("policy", "decision", "replay") if getattr(metrics, f"{n}_loss") is not None
        }
        assert named == present
        assert int(train.step) == 3
    off = dataclasses.replace(SETTINGS, policy_weight=0.0)
    train, metrics = improve(fresh(), training_set(ROWS), off)
    assert metrics.policy_loss is None and metrics.mismatch is not None
    only, _ = improve(fresh(), training_set())
    assert same(train.params, only.params), "a policy term of weight 0 moves nothing"
    two_rows, _ = improve(fresh(), training_set(ROWS[:2], replay=()), alone)
    assert int(two_rows.step) == 2, "an empty minibatch is no step"


def test_metrics_are_means_over_steps_and_targets():
    """One optimiser step at π = μ + 0: nothing clipped; the policy loss is −Σ A over targets,
    divided by the tokens drawn."""
    config = dataclasses.replace(SETTINGS, minibatches=1, replay_weight=0.0)
    batch = packing.pack(ROWS, 12, len(ROWS))
    logprobs = jax.jit(scoring.token_logprobs, static_argnums=1)(
        tiny_models.make_params(MODEL), MODEL, jnp.asarray(batch.token_ids)
    )
    rows = [
        dataclasses.replace(r, behaviour_logprobs=np.asarray(own)[: len(r.token_ids)])
        for r, own in zip(ROWS, logprobs, strict=True)
    ]
    _, metrics = improve(fresh(), training_set(rows, replay=()), config)
    targets = np.array([r.num_targets for r in rows])
    advantages = np.array([r.advantage for r in rows])
    expected = -(targets * advantages).sum() / 40.0
    np.testing.assert_allclose(metrics.policy_loss, expected, rtol=1e-4)
    np.testing.assert_allclose(metrics.ratio_mean, 1.0, atol=1e-5)
    assert metrics.clip_fraction == 0
    np.testing.assert_allclose(metrics.kl, 0.0, atol=1e-6)


def test_learning_makes_the_better_likelier():
    """After some steps: rows of positive advantage gain, the others lose, and π(c|x) nears s*."""
    config = dataclasses.replace(SETTINGS, replay_weight=0.0, minibatches=1, clip_epsilon=10.0)
    what = training_set(ROWS, decision_batches(1), ())
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    decide = jax.jit(scoring.decision_logprobs, static_argnums=1)
    batch, decision = packing.pack(ROWS, 12, len(ROWS)), what.decisions[0]

    def sums(params):
        logprobs = score(params, MODEL, jnp.asarray(batch.token_ids)) * batch.weights
        ell = decide(params, MODEL, decision.rows)
        return np.asarray(logprobs.sum(axis=1)), np.asarray(ell)

    train = fresh()
    before, ell_before = sums(train.params)
    for iteration in range(6):
        train, _ = improve(train, what, config, iteration=iteration)
    after, ell_after = sums(train.params)
    np.testing.assert_array_equal(np.sign(after - before), np.sign(batch.advantages))
    assert (ell_after[:, 1] > ell_before[:, 1] + 1).all()
    policy = np.exp(ell_after[:, 1]) / np.exp(ell_after).sum(axis=1)
    assert (policy > np.exp(ell_before[:, 1]) / np.exp(ell_before).sum(axis=1)).all()


def recorded(what: TrainingSet, **settings) -> list[np.ndarray]:
    """Σ of the gradients of all optimiser steps of an iteration, at parameters that stay as they
    are: the optimiser adds them up and moves nothing."""
    optimiser = optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda gradients, total, _: (
            jax.tree.map(jnp.zeros_like, gradients),
            jax.tree.map(jnp.add, total, gradients),
        ),
    )
    learner = dataclasses.replace(LEARNER, optimiser=optimiser)
    config = dataclasses.replace(SETTINGS, replay_weight=0.0, **settings)
    train = learner.new_state(tiny_models.make_params(MODEL))
    train, _ = fit.improve(train, what, learner, config, seed=0, iteration=1, lr=1.0)
    return [np.asarray(x) for x in jax.tree.leaves(train.opt_state)]


def assert_close(ours, expected) -> None:
    assert max(np.abs(x).max() for x in expected) > 1e-3
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_how_rows_are_cut_does_not_change_an_epochs_mean_gradient():
    """Rows of unequal lengths, in minibatches of unequal sizes; a decision batch in one of them."""
    decision, other = decision_batches(2)
    other = other._replace(strategy=0 * other.strategy)
    whole = recorded(training_set(ROWS, [decision], ()), minibatches=1)
    for minibatches, microbatch_rows in ((1, 3), (3, 4), (7, 1), (9, 2)):
        what = training_set(ROWS, [decision, *[other] * (minibatches - 1)], ())
        found = recorded(what, minibatches=minibatches, microbatch_rows=microbatch_rows)
        assert_close([x / minibatches for x in found], whole)


def test_a_row_weighs_the_same_however_many_others_survive():
    """Alone and as one of seven, one of them after the other: the iteration's gradient is a sum."""
    together = recorded(training_set(ROWS, (), ()))
    alone = [recorded(training_set([row], (), ())) for row in ROWS]
    assert_close([sum(parts) for parts in zip(*alone, strict=True)], together)


def test_the_norm_of_each_term_is_that_of_its_gradient_alone():
    """Three steps at parameters that hardly move: each term leads one of them."""
    config = dataclasses.replace(SETTINGS, replay_weight=0.5)
    every = training_set(ROWS, decision_batches(3))
    _, metrics = fit.improve(fresh(), every, LEARNER, config, seed=0, iteration=1, lr=1e-12)
    size = lambda leaves: np.sqrt(sum(float((x**2).sum()) for x in leaves))  # noqa: E731
    decision = size(recorded(training_set((), decision_batches(3), ()))) / 3
    np.testing.assert_allclose(metrics.grad_norm_decision, decision, rtol=1e-4)
    order = rng.host(0, 1, "minibatches", 0).permutation(len(ROWS))
    # Of (policy, replay, decision), step n of iteration 1 begins with number (1 + n) mod 3.
    led_by_policy = np.array_split(order, 3)[2]
    policy = size(recorded(training_set([ROWS[i] for i in led_by_policy], (), ())))
    np.testing.assert_allclose(metrics.grad_norm_policy, policy, rtol=1e-4)
    _, alone = fit.improve(
        fresh(), training_set(), LEARNER, config, seed=0, iteration=1, lr=1e-12
    )  # fmt: skip
    np.testing.assert_allclose(metrics.grad_norm_replay, alone.grad_norm, rtol=1e-4)
    assert alone.grad_norm_policy is None and alone.grad_norm_decision is None


def test_learning_rate():
    config = ImproveConfig(lr=2.0, final_lr_fraction=0.1)
    assert [fit.learning_rate(config, p) for p in (0.0, 0.5, 1.0)] == pytest.approx([2, 1.1, 0.2])
