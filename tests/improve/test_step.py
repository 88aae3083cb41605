"""Gradients of the three terms of the M-step against plain formulas, and what must not change
them: padding, buckets, microbatches, and anything that stands in columns which are no target."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.improve import packing, state, step
from acim_jax.improve.config import ImproveConfig, PolicyObjective
from acim_jax.improve.packing import TokenRow
from acim_jax.markup import prefix_rows
from acim_jax.model import transformer
from acim_jax.records import Example
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG

EPSILON, WIDTH = 0.2, 16
LENGTHS = (5, 9, 12, 7, 16)


@pytest.fixture(scope="module")
def params():
    return tiny_models.make_params()


def plain_logprobs(params, token_ids, temperature):
    """log π(token t | tokens < t) as [B, T − 1]."""
    positions = jnp.broadcast_to(jnp.arange(token_ids.shape[1]), token_ids.shape)
    hidden, _ = transformer.forward(params, CONFIG, token_ids, positions)
    logits = transformer.unembed(params, CONFIG, hidden[:, :-1]) / temperature
    log_softmax = logits - jnp.log(jnp.sum(jnp.exp(logits), -1, keepdims=True))
    return jnp.sum(jax.nn.one_hot(token_ids[:, 1:], CONFIG.vocab_size) * log_softmax, -1)


@pytest.fixture(scope="module")
def rows(params) -> list[TokenRow]:
    """Rows with two stretches of targets each; μ lies around π, some ratios beyond the band."""
    draw = np.random.default_rng(0)
    made = []
    for n, advantage in zip(LENGTHS, (1.0, -0.5, 2.0, -1.5, 0.0), strict=True):
        weights = np.ones((n,), np.float32)
        weights[:2] = 0
        weights[n // 2 : n // 2 + 2] = 0
        token_ids = draw.integers(0, 600, n).astype(np.int32)
        made.append(TokenRow(token_ids, weights, np.zeros((n,), np.float32), advantage))
    batch = packing.pack(made, WIDTH, len(made))
    logprobs = np.asarray(jax.jit(plain_logprobs)(params, batch.token_ids, 0.8))
    for i, row in enumerate(made):
        own = np.pad(logprobs[i], (1, 0))[: len(row.token_ids)]
        drift = draw.normal(0, 0.25, len(own))
        behaviour = np.where(row.weights > 0, own - drift, 0.0).astype(np.float32)
        made[i] = dataclasses.replace(row, behaviour_logprobs=behaviour)
    return made


def policy_gradient(params, rows, buckets=(WIDTH,), rows_per_batch=8, chunk=0, temperature=0.8):
    gradients, loss, targets = step.zeros(params), 0.0, 0.0
    num_targets = np.float32(max(sum(row.num_targets for row in rows), 1))
    for batch in packing.microbatches(rows, buckets, rows_per_batch):
        gradients, term = step.add_policy_gradient(
            gradients,
            params,
            jax.tree.map(jnp.asarray, batch),
            num_targets,
            np.float32(temperature),
            config=CONFIG,
            objective=PolicyObjective(clip_epsilon=EPSILON),
            chunk=chunk,
        )
        loss, targets = loss + float(term.loss), targets + float(term.sums.targets)
    return loss, gradients, targets


def assert_trees_close(ours, expected, *, atol=1e-5):
    flat = jax.tree_util.tree_leaves_with_path(ours)
    assert max(float(jnp.abs(g).max()) for _, g in flat) > 1e-3, "the gradient is almost 0"
    for (path, one), other in zip(flat, jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol, err_msg=str(path))


def test_policy_term_is_the_plain_formula(params, rows):
    batch = packing.pack(rows, WIDTH, len(rows))
    n = sum(row.num_targets for row in rows)

    def plain(params):
        logprobs = plain_logprobs(params, jnp.asarray(batch.token_ids), 0.8)
        ratio = jnp.exp(logprobs - batch.behaviour_logprobs[:, 1:])
        advantage = batch.advantages[:, None]
        objective = jnp.minimum(
            ratio * advantage, jnp.clip(ratio, 1 - EPSILON, 1 + EPSILON) * advantage
        )
        return -jnp.sum(objective * batch.weights[:, 1:]) / n

    expected_loss, expected = jax.jit(jax.value_and_grad(plain))(params)
    loss, gradients, targets = policy_gradient(params, rows)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert targets == n
    assert_trees_close(gradients, expected)


@pytest.mark.parametrize(
    "split",
    [
        {"rows_per_batch": 2},
        {"buckets": (8, 12, 16), "rows_per_batch": 2},
        {"buckets": (32,)},
        {"chunk": 5},
    ],
)
def test_shapes_do_not_matter(params, rows, split: dict):
    loss, gradients, targets = policy_gradient(params, rows, **split)
    expected_loss, expected, expected_targets = policy_gradient(params, rows)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert targets == expected_targets
    assert_trees_close(gradients, expected)


def test_columns_without_a_target_do_not_matter(params, rows):
    """What stands as log μ of prompts, prefixes and outputs never enters: bit-equal."""
    junk = [
        dataclasses.replace(
            row,
            behaviour_logprobs=np.where(row.weights > 0, row.behaviour_logprobs, -np.inf).astype(
                np.float32
            ),
        )
        for row in rows
    ]
    loss, gradients, _ = policy_gradient(params, junk)
    expected_loss, expected, _ = policy_gradient(params, rows)
    assert loss == expected_loss
    for one, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_to_learn_is_zero_and_finite(params, rows):
    masked = [dataclasses.replace(row, weights=np.zeros_like(row.weights)) for row in rows]
    agreed = [dataclasses.replace(row, advantage=0.0) for row in rows]
    for nothing in (masked, agreed):
        loss, gradients, _ = policy_gradient(params, nothing)
        assert loss == 0.0
        assert all(not np.asarray(g).any() for g in jax.tree.leaves(gradients))


def test_likelihood_term_is_the_plain_formula(params, rows):
    batch = packing.pack(rows, WIDTH, len(rows))
    weights = batch.weights * np.linspace(0.5, 2.0, len(rows), dtype=np.float32)[:, None]

    def plain(params):
        logprobs = plain_logprobs(params, jnp.asarray(batch.token_ids), 1.0)
        return -jnp.sum(logprobs * weights[:, 1:]) / weights.sum()

    expected_loss, expected = jax.jit(jax.value_and_grad(plain))(params)
    gradients, total = step.zeros(params), 0.0
    for part in (slice(0, 4), slice(4, 5)):
        pad = ((0, 4 - len(batch.token_ids[part])), (0, 0))
        piece = packing.TokenBatch(
            np.pad(batch.token_ids[part], pad),
            np.pad(weights[part], pad),
            np.zeros((4, WIDTH), np.float32),
            np.zeros((4,), np.float32),
        )
        gradients, loss = step.add_likelihood_gradient(
            gradients,
            params,
            jax.tree.map(jnp.asarray, piece),
            np.float32(weights.sum()),
            np.float32(0.5),
            config=CONFIG,
        )
        total += float(loss)
    np.testing.assert_allclose(total, expected_loss, rtol=1e-5)
    assert_trees_close(jax.tree.map(lambda g: 2 * g, gradients), expected)


PROMPTS = [np.array([2, 70, 71, 3], np.int32), np.array([2, 80, 3], np.int32)]
PREFIXES = [
    [np.array([300, 301], np.int32), np.array([310, 311, 312], np.int32)],
    [np.array([400], np.int32)],
]
STRATEGIES = [np.array([0.3, 0.7]), np.array([1.0, 0.0])]


def decision_gradient(params, batch, temperature=0.8, coefficient=2.0):
    return step.add_decision_gradient(
        step.zeros(params),
        params,
        jax.tree.map(jnp.asarray, batch),
        np.float32(len(PROMPTS)),
        np.float32(coefficient),
        np.float32(temperature),
        config=CONFIG,
    )


@pytest.fixture(scope="module")
def plain_decision_term(params):
    """Two prefixes for text: π(text|x) is their sum, at the temperature of the rollouts."""

    def plain(params):
        total = 0.0
        for prompt, strategy in zip(PROMPTS, STRATEGIES, strict=True):
            for c, prefixes in enumerate(PREFIXES):
                rows = [np.concatenate([prompt, prefix]) for prefix in prefixes]
                padded = np.stack([np.pad(row, (0, WIDTH - len(row))) for row in rows])
                logprobs = plain_logprobs(params, jnp.asarray(padded), 0.8)
                probability = sum(
                    jnp.exp(jnp.sum(one[len(prompt) - 1 : len(row) - 1]))
                    for one, row in zip(logprobs, rows, strict=True)
                )
                total -= strategy[c] * jnp.log(probability)
        return total / len(PROMPTS)

    return jax.jit(jax.value_and_grad(plain))(params)


@pytest.mark.parametrize("padding", [0, 2])
def test_decision_term_is_the_plain_formula(params, plain_decision_term, padding: int):
    rows = prefix_rows.pack(PROMPTS, PREFIXES, width=WIDTH, num_problems=len(PROMPTS) + padding)
    batch = packing.decision_batch(rows, STRATEGIES)
    gradients, loss = decision_gradient(params, batch)
    np.testing.assert_allclose(loss, plain_decision_term[0], rtol=1e-5)
    assert_trees_close(jax.tree.map(lambda g: g / 2, gradients), plain_decision_term[1])


def test_a_decision_batch_of_padding_is_zero_and_finite(params):
    rows = prefix_rows.pack([], PREFIXES, width=WIDTH, num_problems=4)
    batch = packing.decision_batch(rows, [])
    gradients, loss = decision_gradient(params, batch)
    assert float(loss) == 0.0
    assert all(not np.asarray(g).any() for g in jax.tree.leaves(gradients))


def test_right_after_sampling_the_gradient_is_reinforce(params):
    """Rollouts of the sampler itself: every ratio is 1, nothing is clipped, and the gradient is
    that of −Σ A log π / n."""
    sampler = tiny_models.make_sampler(max_length=48)
    episodes, _ = tiny_models.run(sampler, tiny_models.requests(2, 2))
    advantages = np.linspace(-1, 1.5, len(episodes))
    rows = [
        packing.example_row(Example(e, float(a))) for e, a in zip(episodes, advantages, strict=True)
    ]
    batch = packing.pack(rows, 48, len(rows))
    n = sum(row.num_targets for row in rows)
    gradients, term = step.add_policy_gradient(
        step.zeros(params),
        params,
        jax.tree.map(jnp.asarray, batch),
        np.float32(n),
        np.float32(1.0),
        config=CONFIG,
        objective=PolicyObjective(clip_epsilon=EPSILON),
    )
    np.testing.assert_allclose(float(term.sums.ratio) / n, 1.0, atol=1e-5)
    assert float(term.sums.clipped) == 0
    assert float(term.sums.targets) == n == sum(e.num_model_tokens for e in episodes)

    def reinforce(params):
        logprobs = plain_logprobs(params, jnp.asarray(batch.token_ids), 1.0)
        scale = batch.advantages[:, None] * batch.weights[:, 1:]
        return -jnp.sum(scale * logprobs) / n

    assert_trees_close(gradients, jax.jit(jax.grad(reinforce))(params))


def test_optimiser_step_is_adamw(params):
    """Clipping, Adam's direction and decay written out in numpy float64, over two steps."""
    optimiser = state.optimizer(ImproveConfig(weight_decay=0.1, max_grad_norm=0.5))
    train = state.create(jax.tree.map(jnp.copy, params), optimiser)
    draw = np.random.default_rng(0)
    expected = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    flat, tree = jax.tree_util.tree_flatten_with_path(expected)
    values = [x for _, x in flat]
    first = [np.zeros_like(x) for x in values]
    second = [np.zeros_like(x) for x in values]
    for n, lr in ((1, 0.01), (2, 0.005)):
        gradients = [draw.normal(size=x.shape).astype(np.float32) for x in values]
        train, grad_norm = step.apply(
            train,
            jax.tree_util.tree_unflatten(tree, [jnp.asarray(g) for g in gradients]),
            np.float32(lr),
            optimiser=optimiser,
        )
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients))
        np.testing.assert_allclose(grad_norm, norm, rtol=1e-5)
        for i, (path, _) in enumerate(flat):
            g = gradients[i] * (0.5 / norm)
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.98 * second[i] + 0.02 * g**2
            update = (first[i] / (1 - 0.9**n)) / (np.sqrt(second[i] / (1 - 0.98**n)) + 1e-8)
            name = jax.tree_util.keystr(path)
            decays = "scale" not in name and "'b_" not in name
            values[i] = values[i] - lr * (update + 0.1 * decays * values[i])
    assert int(train.step) == 2
    for (path, one), other in zip(
        jax.tree_util.tree_leaves_with_path(train.params), values, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=str(path))
