"""The gradient of the whole M-step against central differences of an objective in numpy float64.

Objective, model and derivative are all written anew (`tests/support/numpy_decoder.py`); what is
compared is what the optimiser gets from `fit.improve`.
"""

import jax
import numpy as np
import optax
import pytest

from acim_jax.improve import fit, packing
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenRow
from acim_jax.improve.training_set import TrainingSet
from acim_jax.markup import prefix_rows
from acim_jax.model import scoring
from tests.support import numpy_decoder, tiny_models
from tests.support.tiny_models import CONFIG

TEMPERATURE, EPSILON, DRAWN_TOKENS, PROBLEMS = 0.8, 0.2, 57.0, 5
SETTINGS = ImproveConfig(
    minibatches=1, microbatch_rows=2, buckets=(8, 16), clip_epsilon=EPSILON, max_mismatch=1e9,
    policy_weight=0.7, decision_weight=1.5, replay_weight=0.5, replay_rows=2,
)  # fmt: skip
PROMPTS = [np.array([2, 70, 71, 3]), np.array([2, 80, 3])]
PREFIXES = [[np.array([300, 301]), np.array([310, 311, 312])], [np.array([400])]]
STRATEGIES = [np.array([0.3, 0.7]), np.array([0.9, 0.1])]
#: log ρ of the targets: in the band, and far enough beyond either end that no step crosses it.
DRIFTS = np.array([0.0, 0.1, -0.12, 0.5, -0.6])
STEP = 1e-5


def make_row(n: int, advantage: float, seed: int, params) -> TokenRow:
    """Targets with gaps, of several weights; log μ at a known distance from log π."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(1, 600, n)
    weights = draw.choice([0.0, 0.5, 1.0, 2.0], n) * (np.arange(n) > 1)
    own = numpy_decoder.token_logprobs(params, ids, temperature=TEMPERATURE)
    behaviour = own - draw.choice(DRIFTS, n)
    floats = (x.astype(np.float32) for x in (weights, behaviour))
    return TokenRow(ids.astype(np.int32), *floats, advantage)


def objective(params, rows, replay) -> float:
    """What is minimised, one token at a time."""
    policy = likelihood = decision = 0.0
    for row in rows:
        own = numpy_decoder.token_logprobs(params, row.token_ids, temperature=TEMPERATURE)
        for t in np.flatnonzero(row.weights):
            ratio = np.exp(own[t] - row.behaviour_logprobs[t])
            clipped = min(max(ratio, 1 - EPSILON), 1 + EPSILON)
            policy -= row.weights[t] * min(ratio * row.advantage, clipped * row.advantage)
    for row in replay:
        own = numpy_decoder.token_logprobs(params, row.token_ids, temperature=1.0)
        likelihood -= row.weights @ own
    for prompt, strategy in zip(PROMPTS, STRATEGIES, strict=True):
        for share, prefixes in zip(strategy, PREFIXES, strict=True):
            probability = 0.0
            for prefix in prefixes:
                ids = np.concatenate([prompt, prefix])
                own = numpy_decoder.token_logprobs(params, ids, temperature=TEMPERATURE)
                probability += np.exp(own[len(prompt) :].sum())
            decision -= share * np.log(probability)
    total = sum(float(row.weights.sum()) for row in replay)
    return (
        SETTINGS.policy_weight * policy / DRAWN_TOKENS
        + SETTINGS.replay_weight * likelihood / total
        + SETTINGS.decision_weight * decision / PROBLEMS
    )


def test_gradient_is_that_of_central_differences():
    """Along a random direction in every parameter array."""
    params = tiny_models.make_params()
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    rows = [make_row(n, a, n, exact) for n, a in ((6, 1.0), (9, -0.7), (12, 2.0), (16, -1.3))]
    replay = [make_row(n, 0.0, n, exact) for n in (7, 11)]
    packed = prefix_rows.pack(
        [p.astype(np.int32) for p in PROMPTS], PREFIXES, width=16, num_problems=3
    )
    decisions = [packing.decision_batch(packed, STRATEGIES)]
    data = TrainingSet(rows, TEMPERATURE, DRAWN_TOKENS, 20.0, PROBLEMS, decisions, [replay])
    keeping = optax.GradientTransformation(lambda _: optax.EmptyState(), lambda g, s, _: (g, s))
    learner = Learner(CONFIG, keeping)
    before = jax.tree.map(np.asarray, params)
    stepped, _ = fit.improve(
        learner.new_state(params), data, learner, SETTINGS, seed=0, iteration=1, lr=1.0
    )
    gradient = jax.tree.map(lambda old, new: old - np.asarray(new), before, stepped.params)

    leaves, tree = jax.tree_util.tree_flatten_with_path(exact)
    draw = np.random.default_rng(1)
    for at, ((path, x), ours) in enumerate(zip(leaves, jax.tree.leaves(gradient), strict=True)):
        direction = draw.normal(size=x.shape)

        def moved(distance: float, at=at, direction=direction) -> float:
            values = [x for _, x in leaves]
            values[at] = values[at] + distance * direction
            return objective(jax.tree.unflatten(tree, values), rows, replay)

        expected = (moved(STEP) - moved(-STEP)) / (2 * STEP)
        size = float(np.linalg.norm(ours))
        assert size > 1e-3, path
        found = float(np.vdot(ours, direction))
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4 * size), path


def test_the_decoder_by_hand_is_the_model():
    """So that a difference of gradients is one of the M-step."""
    params = tiny_models.make_params()
    ids = np.random.default_rng(0).integers(1, 600, 11)
    ours = jax.jit(scoring.token_logprobs, static_argnums=1)(
        params, CONFIG, ids[None].astype(np.int32)
    )[0]
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    found = numpy_decoder.token_logprobs(exact, ids, temperature=1.0)
    np.testing.assert_allclose(ours, found, rtol=0, atol=1e-5)
