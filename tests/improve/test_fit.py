"""The host loops of M-step and warm-up."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.improve import fit, packing, state
from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.improve.packing import TokenRow
from acim_jax.model import scoring
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG

MODEL = dataclasses.replace(CONFIG, num_layers=1)
SETTINGS = ImproveConfig(
    lr=1e-2, minibatches=3, microbatch_rows=4, buckets=(12,), replay_rows=2, replay_weight=0.5
)
LEARNER = fit.Learner(MODEL, state.optimizer(b1=0.9, b2=0.98, weight_decay=0.0, max_grad_norm=1.0))


def fresh() -> state.TrainState:
    return state.create(tiny_models.make_params(MODEL), LEARNER.optimiser)


def row(n: int, advantage: float, first: int) -> TokenRow:
    weights = (np.arange(n) > 1).astype(np.float32)
    ids = np.arange(first, first + n, dtype=np.int32)
    return TokenRow(ids, weights, np.full((n,), -7.0, np.float32), advantage)


ROWS = [row(5 + i % 4, (-1.0) ** i, 20 * i) for i in range(7)]
REPLAY = [row(6, 0.0, 300), row(8, 0.0, 320)]


def decision_batches(count: int) -> list[tuple[packing.DecisionBatch, int]]:
    prompts = [np.array([2, 70, 3], np.int32), np.array([2, 80, 3], np.int32)]
    prefixes = [[np.array([300], np.int32)], [np.array([400], np.int32)]]
    strategies = [np.array([0.1, 0.9])] * 2
    batch = packing.decision_batch(prompts, prefixes, strategies, width=8, num_rows=2)
    return [(batch, 2)] * count


def lesson(rows=(), decisions=(), replay=lambda at: REPLAY) -> fit.Lesson:
    return fit.Lesson(rows, decisions, replay, temperature=1.0)


def improve(train, what: fit.Lesson, config=SETTINGS, *, seed=0, iteration=1):
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
    train, metrics = improve(fresh(), lesson(ROWS), config)
    minibatches = [counter for counter in seen if counter]
    assert [sum(c.values()) for c in minibatches] == [3, 2, 2] * 2
    everything = collections.Counter(int(r.token_ids[0]) for r in ROWS)
    assert sum(minibatches[:3], collections.Counter()) == everything
    assert sum(minibatches[3:], collections.Counter()) == everything
    assert minibatches[:3] != minibatches[3:], "epochs are shuffled apart"
    assert metrics["train/steps"] == 6 == int(train.step)
    assert metrics["train/target_tokens"] == 2 * sum(r.num_targets for r in ROWS)


def test_repeats_by_seed_and_iteration():
    what = lesson(ROWS, decision_batches(3))
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
    unchanged, metrics = improve(start, lesson(), alone)
    assert same(unchanged.params, copy) and int(unchanged.step) == 0
    assert metrics["train/policy_loss"] is None and metrics["train/grad_norm"] is None
    assert metrics["train/ratio_mean"] is None and metrics["train/steps"] == 0
    # a batch in which no query carries a signal is no step either
    empty = [(batch, 0) for batch, _ in decision_batches(3)]
    unchanged, _ = improve(unchanged, lesson((), empty), alone)
    assert int(unchanged.step) == 0
    for what, present in (
        (lesson(ROWS), {"policy", "replay"}),
        (lesson((), decision_batches(3)), {"decision", "replay"}),
        (lesson(), {"replay"}),
    ):
        train, metrics = improve(fresh(), what)
        named = {
            n for n in ("policy", "decision", "replay") if metrics[f"train/{n}_loss"] is not None
        }
        assert named == present
        assert int(train.step) == 3
    two_rows, _ = improve(fresh(), lesson(ROWS[:2]), alone)
    assert int(two_rows.step) == 2, "an empty minibatch is no step"


def test_metrics_are_means_over_steps_and_targets():
    """One optimiser step at π = μ + 0: nothing clipped; the policy loss is −mean A over targets."""
    config = dataclasses.replace(SETTINGS, minibatches=1, replay_weight=0.0)
    batch = packing.pack(ROWS, 12, len(ROWS))
    logprobs = jax.jit(scoring.token_logprobs, static_argnums=1)(
        tiny_models.make_params(MODEL), MODEL, jnp.asarray(batch.token_ids)
    )
    rows = [
        dataclasses.replace(r, behaviour_logprobs=np.asarray(own)[: len(r.token_ids)])
        for r, own in zip(ROWS, logprobs, strict=True)
    ]
    _, metrics = improve(fresh(), lesson(rows), config)
    targets = np.array([r.num_targets for r in rows])
    advantages = np.array([r.advantage for r in rows])
    expected = -(targets * advantages).sum() / targets.sum()
    np.testing.assert_allclose(metrics["train/policy_loss"], expected, rtol=1e-4)
    np.testing.assert_allclose(metrics["train/ratio_mean"], 1.0, atol=1e-5)
    assert metrics["train/clip_fraction"] == 0
    np.testing.assert_allclose(metrics["train/kl"], 0.0, atol=1e-6)


def test_learning_makes_the_better_likelier():
    """After some steps: rows of positive advantage gain, the others lose, and π(c|x) nears s*."""
    config = dataclasses.replace(SETTINGS, replay_weight=0.0, minibatches=1, clip_epsilon=10.0)
    what = lesson(ROWS, decision_batches(1))
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    decide = jax.jit(scoring.decision_logprobs, static_argnums=1)
    batch, decision = packing.pack(ROWS, 12, len(ROWS)), what.decisions[0][0]

    def sums(params):
        logprobs = score(params, MODEL, jnp.asarray(batch.token_ids)) * batch.weights
        ell = decide(params, MODEL, decision.token_ids, decision.is_prefix)
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


def test_learning_rates():
    config = ImproveConfig(lr=2.0, final_lr_fraction=0.1)
    assert [fit.learning_rate(config, p) for p in (0.0, 0.5, 1.0)] == pytest.approx([2, 1.1, 0.2])
    warmup = WarmupConfig(
        steps=100, lr=1.0, lr_warmup=10, decay_fraction=0.5, final_lr_fraction=0.1
    )
    expected = {0: 0.1, 4: 0.5, 9: 1.0, 49: 1.0, 50: 1.0, 75: 0.5, 90: 0.2, 99: 0.1}
    found = {at: fit.warmup_learning_rate(warmup, at) for at in expected}
    assert found == pytest.approx(expected)


def test_warmup_in_two_parts_is_warmup_in_one():
    config = WarmupConfig(steps=6, rows=4, lr=1e-2, lr_warmup=2, buckets=(12,))
    batches = [packing.pack(ROWS[i % 4 : i % 4 + 3], 12, 4) for i in range(6)]
    losses: list[tuple[int, float]] = []
    whole = fit.warmup(
        fresh(),
        iter(batches),
        LEARNER,
        config,
        first=0,
        last=6,
        on_loss=lambda at, loss: losses.append((at, loss)),
        log_every=3,
    )
    part = fit.warmup(fresh(), iter(batches[:2]), LEARNER, config, first=0, last=2)
    part = fit.warmup(part, iter(batches[2:]), LEARNER, config, first=2, last=6)
    assert same(whole, part)
    assert [at for at, _ in losses] == [3, 6]
    assert losses[1][1] < losses[0][1]
