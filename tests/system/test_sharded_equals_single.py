"""Eight virtual devices against one: gradients of the three terms, an optimiser's step, samples.

Float sums differ by shape, so tokens may differ where the two best perturbed scores lie within
1e-4 of one another; the sampler counts such places.
"""

import dataclasses

import jax
import numpy as np
import pytest

from acim_jax.improve import packing, state, step
from acim_jax.improve.config import ImproveConfig, PolicyObjective
from acim_jax.improve.learner import Learner
from acim_jax.markup import prefix_rows
from acim_jax.run import compilation
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support import episodes, tiny_models
from tests.support.tiny_models import CONFIG

LENGTHS = (5, 9, 12, 7, 16)


@pytest.fixture(scope="module")
def eight() -> jax.sharding.Mesh:
    return mesh.make(MeshConfig(data=2, fsdp=2, tensor=2))


@pytest.fixture(scope="module")
def layout(eight) -> axes.Layout:
    return axes.Layout.of(eight, axes.TRAIN_RULES)


def optimiser():
    return state.optimizer(ImproveConfig(weight_decay=0.1))


def rows() -> list[packing.TokenRow]:
    draw = np.random.default_rng(0)
    return [
        packing.TokenRow(
            draw.integers(0, 600, n).astype(np.int32),
            (np.arange(n) > 1).astype(np.float32),
            draw.normal(-7.0, 0.5, n).astype(np.float32),
            advantage,
        )
        for n, advantage in zip(LENGTHS, (1.0, -0.5, 2.0, -1.5, 0.7), strict=True)
    ]


def decisions() -> packing.DecisionBatch:
    prompts = [np.array([2, 70 + i, *range(90, 90 + i), 3], np.int32) for i in range(3)]
    prefixes = [[np.array([300, 301]), np.array([310])], [np.array([400, 401, 402])]]
    strategies = [np.array([0.3, 0.7]), np.array([1.0, 0.0]), np.array([0.5, 0.5])]
    rows = prefix_rows.pack(prompts, prefixes, width=16, num_problems=4)
    return packing.decision_batch(rows, strategies)


def one_step(train, learner: Learner):
    """Gradients of each term by itself, then an optimiser's step on their sum."""
    shared = {"config": CONFIG, "layout": learner.layout}
    zeros = lambda: step.zeros(train.params, layout=learner.layout)  # noqa: E731
    policy, likelihood = zeros(), zeros()
    losses = dict.fromkeys(("policy", "likelihood", "decision"), 0.0)
    for batch in packing.microbatches(rows(), (8, 16), 4):
        placed = place.batch(batch, learner.layout)
        policy, term = step.add_policy_gradient(
            policy,
            train.params,
            placed,
            np.float32(39),
            np.float32(0.9),
            objective=PolicyObjective(),
            chunk=4,
            **shared,
        )
        likelihood, loss = step.add_likelihood_gradient(
            likelihood, train.params, placed, np.float32(39), np.float32(1.0), **shared
        )
        losses["policy"] += float(term.loss)
        losses["likelihood"] += float(loss)
    decision, loss = step.add_decision_gradient(
        zeros(),
        train.params,
        place.batch(decisions(), learner.layout),
        np.float32(3),
        np.float32(1.0),
        np.float32(0.9),
        **shared,
    )
    losses["decision"] = float(loss)
    gradients = {"policy": policy, "likelihood": likelihood, "decision": decision}
    total = jax.tree.map(lambda *g: sum(g), *gradients.values())
    host = jax.device_get(gradients)
    applied = step.apply(train, total, np.float32(1e-2), optimiser=learner.optimiser)
    return losses, host, applied


@pytest.fixture(scope="module")
def both(layout):
    single = Learner(CONFIG, optimiser())
    sharded = Learner(CONFIG, optimiser(), layout)
    on_one = state.create(tiny_models.make_params(), single.optimiser)
    split = place.to_layout(tiny_models.make_params(), layout)
    on_eight = state.create(split, sharded.optimiser, layout)
    return one_step(on_one, single), one_step(on_eight, sharded), sharded


def assert_close(one, other, *, atol: float):
    flat = jax.tree_util.tree_leaves_with_path(one)
    for (path, x), y in zip(flat, jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=atol, err_msg=str(path))


@pytest.mark.parametrize("term", ["policy", "likelihood", "decision"])
def test_losses_and_gradients(both, term: str):
    (losses, gradients, _), (sharded_losses, sharded_gradients, _), _ = both
    assert abs(losses[term]) > 1e-2
    np.testing.assert_allclose(sharded_losses[term], losses[term], rtol=1e-5)
    assert max(np.abs(g).max() for g in jax.tree.leaves(gradients[term])) > 1e-2
    assert_close(sharded_gradients[term], gradients[term], atol=1e-5)


def test_optimiser_step(both):
    (_, _, (one, norm)), (_, _, (eight_devices, norm_of_eight)), _ = both
    np.testing.assert_allclose(norm_of_eight, norm, rtol=1e-5)
    # Adam divides by the gradient's size, so the first step is ±lr wherever it is not nearly 0
    solid = jax.tree.map(lambda m: np.abs(m) > 1e-5, one.opt_state[1].mu)
    pick = lambda tree: jax.tree.map(lambda x, s: np.asarray(x)[s], tree, solid)  # noqa: E731
    assert_close(pick(eight_devices.params), pick(one.params), atol=1e-5)
    assert_close(eight_devices.opt_state[1].mu, one.opt_state[1].mu, atol=1e-5)


def test_state_keeps_its_sharding_and_nothing_is_compiled_twice(both, layout):
    _, (_, _, (applied, _)), learner = both
    planned = state.shardings(applied.params, learner.optimiser, layout)
    for array, sharding in zip(jax.tree.leaves(applied), jax.tree.leaves(planned), strict=True):
        assert array.sharding.is_equivalent_to(sharding, array.ndim), array.sharding
    gradients = step.zeros(applied.params, layout=layout)
    batch = place.batch(next(packing.microbatches(rows(), (8, 16), 4)), learner.layout)
    arguments = (np.float32(39), np.float32(0.9))
    settings = {
        "config": CONFIG,
        "layout": layout,
        "objective": PolicyObjective(),
        "chunk": 4,
    }
    with compilation.CompileCounter() as counter:
        gradients, _ = step.add_policy_gradient(
            gradients, applied.params, batch, *arguments, **settings
        )
        again = step.apply(applied, gradients, np.float32(1e-2), optimiser=learner.optimiser)
        jax.block_until_ready(again)
        assert counter.take().executables == 0
    for x, planned_for_x in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(planned.params), strict=True
    ):
        assert x.is_deleted() or x.sharding.is_equivalent_to(planned_for_x, x.ndim)


def test_gradients_are_split_as_their_parameters(layout):
    params = place.to_layout(tiny_models.make_params(), layout)
    gradients = step.zeros(params, layout=layout)
    for g, p in zip(jax.tree.leaves(gradients), jax.tree.leaves(params), strict=True):
        assert g.sharding.is_equivalent_to(p.sharding, g.ndim)
        assert not np.asarray(g).any()


@pytest.mark.parametrize("unroll", [False, True])
def test_sampled_tokens(eight, unroll: bool):
    config = dataclasses.replace(CONFIG, unroll=unroll)
    layout = axes.Layout.of(eight, axes.SAMPLE_RULES)
    params = tiny_models.make_params(config)
    wanted = tiny_models.requests(3, 4)
    ours, stats = tiny_models.run(
        tiny_models.make_sampler(config), wanted, params=params, config=config
    )
    sampler = tiny_models.make_sampler(config, layout=layout)
    split = place.to_layout(params, layout)
    theirs, sharded_stats = tiny_models.run(sampler, wanted, params=split, config=config)
    different = episodes.count_different(ours, theirs, atol=1e-5)
    assert different <= stats.near_ties + sharded_stats.near_ties
    with compilation.CompileCounter() as counter:
        again, _ = tiny_models.run(sampler, wanted, params=split, config=config)
        assert counter.take().executables == 0
    assert [e.text for e in again] == [e.text for e in theirs]
