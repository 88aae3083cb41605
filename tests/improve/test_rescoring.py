"""What the trainer scores before an iteration's first update, and an M-step with all that an
objective can ask for, against central differences in numpy float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from acim_jax.bad_input import BadInput
from acim_jax.config.run import RunConfig
from acim_jax.improve import fit, rescoring
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenRow
from acim_jax.improve.training_set import TrainingSet
from acim_jax.model import lora
from acim_jax.records import Author, Segment
from acim_jax.run import reference
from tests.support import numpy_decoder, tiny_models
from tests.support.episodes import make_episode
from tests.support.tiny_models import CONFIG

TEMPERATURE, ROLLOUTS, STEP = 0.8, 11.0, 1e-5
SETTINGS = ImproveConfig(
    minibatches=1, microbatch_rows=2, buckets=(8, 16), max_mismatch=1e9, logprob_chunk=5,
    aggregation="sequence", correction="truncated", correction_cap=1.25,
    kl_weight=0.3, entropy_weight=0.2, entropy_tokens=2,
)  # fmt: skip
KEEPING = optax.GradientTransformation(
    lambda params: optax.EmptyState(), lambda updates, state, params=None: (updates, state)
)


def exact(params):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), params)


@pytest.fixture(scope="module")
def params():
    return tiny_models.make_params()


@pytest.fixture(scope="module")
def start(params):
    """The reference: near the trained parameters."""
    keys = iter(jax.random.split(jax.random.key(1), 64))
    return jax.tree.map(lambda x: x * (1 + 0.1 * jax.random.normal(next(keys), x.shape)), params)


@pytest.fixture(scope="module")
def rows(params) -> list[TokenRow]:
    """Of 12, 6, 16 and 9 tokens, so that rescoring meets them in another order."""
    made, scorer = [], exact(params)
    for n, advantage in ((12, 1.0), (6, -0.7), (16, 2.0), (9, -1.3)):
        draw = np.random.default_rng(n)
        ids = draw.integers(1, 600, n).astype(np.int32)
        weights = draw.choice([0.0, 1.0], n, p=[0.3, 0.7]) * (np.arange(n) > 1)
        own = numpy_decoder.token_logprobs(scorer, ids, temperature=TEMPERATURE)
        behaviour = (own - draw.choice([0.1, -0.2, 0.6], n)).astype(np.float32)
        bonus = np.arange(n) % 3 == 2
        made.append(
            TokenRow(ids, weights.astype(np.float32), behaviour, advantage, has_bonus=bonus)
        )
    return made


def test_each_row_gets_its_own_logprobs(params, start, rows):
    learner = Learner(CONFIG, KEEPING, reference=start)
    found = rescoring.rescored(rows, params, learner, SETTINGS, temperature=TEMPERATURE)
    for row, ours in zip(rows, found, strict=True):
        for weights, scored in (
            (params, ours.proximal_logprobs),
            (start, ours.reference_logprobs),
        ):
            expected = numpy_decoder.token_logprobs(
                exact(weights), row.token_ids, temperature=TEMPERATURE
            )
            assert scored is not None
            np.testing.assert_allclose(scored, expected, rtol=0, atol=1e-4)
    default = rescoring.rescored(rows, params, learner, ImproveConfig(), temperature=TEMPERATURE)
    assert default == rows


def test_what_of_the_kl_a_reward_bears(start):
    """Two rollouts of different lengths with a forced beginning, and one that no row holds."""
    episodes = []
    for length in (9, 5, 40):
        draw = np.random.default_rng(length)
        ids = draw.integers(1, 600, length).astype(np.int32)
        logprobs = np.log(draw.uniform(0.1, 0.9, length - 3)).astype(np.float32)
        segments = (
            Segment(Author.PROMPT, ids[:2]),
            Segment(Author.FORCED, ids[2:3]),
            Segment(Author.MODEL, ids[3:], logprobs),
        )
        episodes.append(dataclasses.replace(make_episode("p", "text", 1.0), segments=segments))
    learner = Learner(CONFIG, KEEPING, reference=start)
    found = rescoring.reference_kl(episodes, learner, SETTINGS, temperature=TEMPERATURE)
    for before, after in zip(episodes[:2], found, strict=False):
        own = numpy_decoder.token_logprobs(exact(start), before.token_ids, temperature=TEMPERATURE)[
            3:
        ]
        expected = float(np.sum(before.segments[2].logprobs - own))
        assert abs(expected) > 1 and after.reference_kl == pytest.approx(expected, rel=1e-5)
    assert found[2].reference_kl == 0.0


def objective(moved, params, start, rows) -> float:
    """What is minimised, one token at a time: ρ = π/π_prox is 1 and its slope that of log π."""
    total = 0.0
    for row in rows:
        own, before, reference = (
            numpy_decoder.token_logprobs(p, row.token_ids, temperature=TEMPERATURE)
            for p in (moved, params, start)
        )
        entropy = numpy_decoder.entropies(moved, row.token_ids, temperature=TEMPERATURE)
        targets = np.flatnonzero(row.weights)
        for t in targets:
            weight = min(np.exp(before[t] - row.behaviour_logprobs[t]), 1.25)
            value = -weight * np.exp(own[t] - before[t]) * row.advantage
            value += 0.3 * (own[t] - reference[t]) ** 2 / 2
            value -= 0.2 * entropy[t] * row.has_bonus[t]
            total += value / len(targets)
    return total / ROLLOUTS


def test_the_gradient_of_everything_is_that_of_central_differences(params, start, rows):
    learner = Learner(CONFIG, KEEPING, reference=start)
    data = TrainingSet(rows, TEMPERATURE, 1e9, ROLLOUTS)
    trained, first, before = exact(params), exact(start), jax.tree.map(np.asarray, params)
    state = learner.new_state(jax.tree.map(jnp.copy, params))
    stepped, metrics = fit.improve(state, data, learner, SETTINGS, seed=0, iteration=1, lr=1.0)
    gradient = jax.tree.map(lambda old, new: old - np.asarray(new), before, stepped.params)
    for seed in range(3):
        draw = np.random.default_rng(seed)
        direction = jax.tree.map(lambda x, draw=draw: draw.normal(size=x.shape), trained)
        sides = [
            objective(
                jax.tree.map(lambda x, d, s=size: x + s * d, trained, direction),
                trained, first, rows,
            )
            for size in (STEP, -STEP)
        ]  # fmt: skip
        found = sum(map(np.vdot, jax.tree.leaves(gradient), jax.tree.leaves(direction)))
        size = np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(gradient)))
        expected = (sides[0] - sides[1]) / (2 * STEP)
        assert float(found) == pytest.approx(expected, rel=1e-3, abs=1e-4 * size)
    # log ρ to μ is 0.1, −0.2 or 0.6: the last is above the cap.
    gaps = np.concatenate(
        [
            numpy_decoder.token_logprobs(trained, row.token_ids, temperature=TEMPERATURE)[at]
            - row.behaviour_logprobs[at]
            for row in rows
            if len(at := np.flatnonzero(row.weights))
        ]
    )
    u = np.exp(gaps)
    assert metrics.correction_fraction == pytest.approx((gaps > 0.3).mean())
    assert metrics.ess == pytest.approx(u.sum() ** 2 / (len(u) * (u**2).sum()), rel=1e-4)
    assert metrics.ratio_mean == pytest.approx(1.0, abs=1e-5)
    assert metrics.reference_kl is not None and metrics.reference_kl > 0.01
    assert metrics.entropy == pytest.approx(
        np.concatenate(
            [
                numpy_decoder.entropies(trained, row.token_ids, temperature=TEMPERATURE)[
                    (row.weights > 0) & row.has_bonus
                ]
                for row in rows
            ]
        ).mean(),
        rel=1e-4,
    )


def test_the_denominators_by_hand():
    data = TrainingSet([], 1.0, 57.0, 11.0)
    for settings, expected in (
        ({}, 57.0),
        ({"aggregation": "sequence"}, 11.0),
        ({"aggregation": "constant"}, 11.0 * 2048),
        ({"aggregation": "constant", "constant_length": 100}, 1100.0),
    ):
        config = ImproveConfig(**settings)  # pyright: ignore[reportArgumentType]
        assert fit.policy_denominator(data, config) == expected
    with pytest.raises(ValueError, match="aggregation is token"):
        ImproveConfig(constant_length=100)


def test_the_reference_is_the_start_of_a_run(params, tmp_path):
    """A copy that steps do not use up, and the same after a resumption; of a LoRA run the base."""
    learner, config = Learner(CONFIG, KEEPING), RunConfig(improve=ImproveConfig(kl_weight=0.1))
    with pytest.raises(BadInput, match="no complete checkpoint of step 0"):
        reference.restored(learner, config, tmp_path)
    begun = jax.tree.map(jnp.copy, params)
    kept = reference.kept(learner, begun, config, tmp_path)
    for leaf in jax.tree.leaves(begun):
        leaf.delete()
    for found in (kept, reference.restored(learner, config, tmp_path)):
        same = jax.tree.map(np.array_equal, found.reference_params, params)
        assert all(jax.tree.leaves(same))
    with pytest.raises(ValueError, match="neither these nor a frozen base"):
        _ = reference.kept(learner, params, RunConfig(), tmp_path).reference_params
    frozen = lora.Frozen(params, jnp.float32(2.0))
    assert dataclasses.replace(learner, frozen=frozen).reference_params is params
