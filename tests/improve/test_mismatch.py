"""Sampler against trainer: the figures by hand, and a planted mismatch that the gate catches."""

import dataclasses

import jax
import numpy as np
import pytest

from acim_jax.improve import fit, mismatch, packing
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenRow
from acim_jax.improve.state import optimizer
from acim_jax.improve.training_set import TrainingSet
from acim_jax.model import scoring
from acim_jax.records import Example
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG, requests, run

SETTINGS = ImproveConfig(buckets=(40, 72), microbatch_rows=2, minibatches=1, replay_weight=0.0)
LEARNER = Learner(CONFIG, optimizer(SETTINGS))
TEMPERATURE = 0.8


@pytest.fixture(scope="module")
def params():
    return tiny_models.make_params()


def rolled_out(params) -> list[TokenRow]:
    episodes, _ = run(
        tiny_models.make_sampler(), requests(2, 2), params=params, temperature=TEMPERATURE
    )
    return [packing.example_row(Example(episode, 1.0)) for episode in episodes]


@pytest.fixture(scope="module")
def rows(params) -> list[TokenRow]:
    return rolled_out(params)


def fresh(params):
    """A training state of its own: steps use up what they are given."""
    return LEARNER.new_state(jax.tree.map(jax.numpy.copy, params))


def measured(params, rows) -> mismatch.Mismatch:
    found = mismatch.measure(params, rows, LEARNER, SETTINGS, temperature=TEMPERATURE)
    assert found is not None
    return found


def test_sampler_and_trainer_agree_in_float32(params, rows):
    found = measured(params, rows)
    assert found.largest < 1e-5 and found.mean < 1e-6
    assert (found.off_01, found.off_1, found.off_5) == (0, 0, 0) and abs(found.kl) < 1e-7
    mismatch.check(found, mismatch.limit(SETTINGS, CONFIG, int8_cache=False))


def test_figures_by_hand(params, rows):
    """Log-probs that are moved by known amounts, over microbatches of two widths."""
    draw = np.random.default_rng(0)
    moves = [draw.choice([0.0, 0.005, -0.02, 0.1], row.token_ids.shape) for row in rows]
    moved = [
        dataclasses.replace(
            row, behaviour_logprobs=(row.behaviour_logprobs + move).astype(np.float32)
        )
        for row, move in zip(rows, moves, strict=True)
    ]
    gap = np.concatenate([-m[r.weights > 0] for r, m in zip(rows, moves, strict=True)])
    found, off = measured(params, moved), np.abs(np.exp(gap) - 1)
    np.testing.assert_allclose(found.mean, np.abs(gap).mean(), rtol=1e-3)
    np.testing.assert_allclose(found.largest, 0.1, rtol=1e-3)
    for share, ours in ((0.001, found.off_01), (0.01, found.off_1), (0.05, found.off_5)):
        np.testing.assert_allclose(ours, (off > share).mean(), rtol=1e-6)
    np.testing.assert_allclose(found.kl, (np.exp(gap) - 1 - gap).mean(), rtol=1e-2)


def test_a_planted_mismatch_is_not_trained_on(params):
    """The sampler has weights that are off by a thousandth."""
    keys = iter(jax.random.split(jax.random.key(1), 64))
    off = jax.tree.map(lambda x: x * (1 + 1e-3 * jax.random.normal(next(keys), x.shape)), params)
    rows = rolled_out(off)
    assert measured(params, rows).mean > mismatch.LIMITS[0]
    state, data = fresh(params), TrainingSet(rows, TEMPERATURE, 100.0, 10.0)
    with pytest.raises(RuntimeError, match=r"max_mismatch is 0\.001.* Nothing was updated"):
        fit.improve(state, data, LEARNER, SETTINGS, seed=0, iteration=1, lr=1e-3)
    lax = dataclasses.replace(SETTINGS, max_mismatch=1.0)
    _, metrics = fit.improve(state, data, LEARNER, lax, seed=0, iteration=1, lr=1e-3)
    assert metrics.mismatch is not None and metrics.mismatch > mismatch.LIMITS[0]


@pytest.mark.parametrize(
    ("dtype", "int8_cache", "expected"),
    [
        ("float32", False, 1e-3), ("float32", True, 5e-2),
        ("bfloat16", False, 5e-2), ("bfloat16", True, 5e-2),
    ],
)  # fmt: skip
def test_fewer_bits_that_were_asked_for_are_allowed_more(dtype, int8_cache, expected):
    model = dataclasses.replace(CONFIG, dtype=dtype)
    assert mismatch.limit(SETTINGS, model, int8_cache=int8_cache) == expected
    strict = dataclasses.replace(SETTINGS, max_mismatch=1e-6)
    assert mismatch.limit(strict, model, int8_cache=int8_cache) == 1e-6


def test_rollouts_of_earlier_iterations_are_off_policy_by_right(params, rows):
    """They are trained on, add their part to the denominators, and are not held against the
    sampler: their policy was another one."""
    older = [
        dataclasses.replace(row, behaviour_logprobs=row.behaviour_logprobs - 0.5) for row in rows
    ]
    now = TrainingSet(rows, TEMPERATURE, 100.0, 10.0, num_problems=3)
    data = now.with_earlier([TrainingSet(older[:1], TEMPERATURE, 30.0, 4.0, num_problems=5)])
    assert [row.age for row in data.rows] == [0] * len(rows) + [1]
    assert (data.drawn_tokens, data.drawn_rollouts, data.num_problems) == (130.0, 14.0, 3)
    for seed in range(3):
        config = dataclasses.replace(SETTINGS, minibatches=len(data.rows))
        _, metrics = fit.improve(
            fresh(params), data, LEARNER, config, seed=seed, iteration=1, lr=1e-3
        )
        assert metrics.mismatch is not None and metrics.mismatch < 1e-6
        assert metrics.stale_fraction == 1 / len(data.rows)
    stale = TrainingSet([], TEMPERATURE, 0.0, 0.0).with_earlier([TrainingSet(older, 1.0, 1.0, 1.0)])
    _, metrics = fit.improve(fresh(params), stale, LEARNER, SETTINGS, seed=0, iteration=1, lr=1e-3)
    assert metrics.mismatch is None and metrics.target_tokens > 0


def test_a_gradient_that_is_not_finite_changes_nothing(params, rows):
    """One bad row: its optimiser step is left out and counted; if all three of an iteration are,
    one after another, the run ends."""
    bad = dataclasses.replace(rows[0], advantage=float("nan"))
    config = dataclasses.replace(SETTINGS, minibatches=len(rows))
    state, metrics = fit.improve(
        fresh(params), TrainingSet([bad, *rows[1:]], TEMPERATURE, 100.0, 10.0), LEARNER, config,
        seed=0, iteration=1, lr=1e-3,
    )  # fmt: skip
    assert (metrics.skipped_steps, metrics.steps) == (1, len(rows))
    assert int(state.step) == len(rows) - 1
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.params, state.opt_state)))
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    ids = np.arange(5, 15, dtype=np.int32)[None]
    assert np.abs(score(state.params, CONFIG, ids) - score(params, CONFIG, ids)).max() > 1e-4
    data = TrainingSet([bad] * 3, TEMPERATURE, 100.0, 10.0)
    config = dataclasses.replace(SETTINGS, minibatches=3)
    with pytest.raises(RuntimeError, match="None of the iteration's 3 optimiser steps"):
        fit.improve(fresh(params), data, LEARNER, config, seed=0, iteration=1, lr=1e-3)
