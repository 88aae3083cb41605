"""Training of adapters: the base keeps its bits, moments exist for adapters only, losses fall."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.checkpoint import store
from acim_jax.improve import fit, packing, state, step, warm_up
from acim_jax.improve.config import ImproveConfig, PolicyObjective, WarmupConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenRow
from acim_jax.improve.training_set import TrainingSet
from acim_jax.markup import prefix_rows
from acim_jax.model import lora
from acim_jax.model.config import LoraConfig
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG

MODEL = dataclasses.replace(CONFIG, num_layers=1)
LORA = LoraConfig(rank=2, alpha=4.0)
SETTINGS = ImproveConfig(
    max_mismatch=1e9,
    lr=1e-2,
    minibatches=2,
    microbatch_rows=4,
    buckets=(12,),
    replay_rows=2,
    replay_weight=0.5,
)
OPTIMISER = state.optimizer(ImproveConfig(weight_decay=0.1))


def row(n: int, advantage: float, first: int) -> TokenRow:
    weights = (np.arange(n) > 1).astype(np.float32)
    ids = np.arange(first, first + n, dtype=np.int32)
    return TokenRow(ids, weights, np.full((n,), -7.0, np.float32), advantage)


ROWS = [row(5 + i % 4, (-1.0) ** i, 20 * i) for i in range(7)]


def training_set() -> TrainingSet:
    prompts = [np.array([2, 70, 3], np.int32), np.array([2, 80, 3], np.int32)]
    prefixes = [[np.array([300], np.int32)], [np.array([400], np.int32)]]
    strategies = [np.array([0.1, 0.9])] * 2
    rows = prefix_rows.pack(prompts, prefixes, width=8, num_problems=2)
    batch = packing.decision_batch(rows, strategies)
    replay = [row(6, 0.0, 300), row(8, 0.0, 320)]
    return TrainingSet(ROWS, 1.0, 40.0, 8.0, 2, [batch] * 2, [replay] * 2)


@pytest.fixture(scope="module")
def learner() -> Learner:
    frozen = lora.Frozen(tiny_models.make_params(MODEL), jnp.float32(LORA.scale))
    return Learner(MODEL, OPTIMISER, frozen=frozen)


def fresh(learner: Learner) -> state.TrainState:
    adapters = lora.init(LORA, learner.frozen.params, jax.random.key(0))
    return state.create(adapters, OPTIMISER)


def bits(tree) -> list[bytes]:
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


def improve(train, learner, iteration: int) -> state.TrainState:
    train, _ = fit.improve(
        train, training_set(), learner, SETTINGS, seed=0, iteration=iteration, lr=1e-2
    )
    return train


def test_the_base_keeps_its_bits_and_the_adapters_learn(learner):
    """All three terms of the M-step, then warm-up steps."""
    before = bits(learner.frozen.params)
    train = fresh(learner)
    start = bits(train.params)
    for iteration in (1, 2):
        train = improve(train, learner, iteration)
    warmup = WarmupConfig(steps=3, rows=4, lr=1e-2, lr_warmup=1, buckets=(12,))
    batches = [packing.pack(ROWS[i : i + 3], 12, 4) for i in range(3)]
    train = warm_up.fit(train, iter(batches), learner, warmup, first=0, last=3)
    assert int(train.step) == 2 * 2 + 3
    assert bits(learner.frozen.params) == before
    assert all(one != other for one, other in zip(bits(train.params), start, strict=True))


def test_moments_and_gradients_exist_for_adapters_only(learner):
    train = fresh(learner)
    count = sum(x.size for x in jax.tree.leaves(train.params))
    D, N, K, H, F, r = 32, 4, 2, 8, 48, 2
    # D·r + r·out for q, k, v; then o; then gate, up, down
    expected = r * (3 * D + (N + 2 * K) * H) + r * (N * H + D) + 3 * r * (D + F)
    assert count == expected
    moments = train.opt_state[1]
    assert sum(x.size for x in jax.tree.leaves((moments.mu, moments.nu))) == 2 * expected
    gradients = step.zeros(train.params)
    assert sum(x.size for x in jax.tree.leaves(gradients)) == expected


def test_first_step_moves_b_only(learner):
    """A's gradient is (α/r)·∂W·Bᵀ, and B starts at 0."""
    train = fresh(learner)
    gradients, _ = step.add_likelihood_gradient(
        step.zeros(train.params),
        train.params,
        place.batch(packing.pack(ROWS[:4], 12, 4), learner.layout),
        np.float32(10.0),
        np.float32(1.0),
        **learner.shared,
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.any(leaf) == path[-1].key.endswith("_lora_b"), path


def test_likelihood_of_demonstrations_rises(learner):
    """SFT on a few rows: 40 steps take the loss to less than half, and W to base + merged."""
    warmup = WarmupConfig(steps=40, rows=8, lr=3e-2, lr_warmup=1, buckets=(12,), weight_decay=0.0)
    losses: list[float] = []
    train = warm_up.fit(
        fresh(learner),
        iter([packing.pack(ROWS, 12, 8)] * 40),
        learner,
        warmup,
        first=0,
        last=40,
        on_loss=lambda at, loss: losses.append(loss),
        log_every=1,
    )
    assert losses[-1] < 0.5 * losses[0]
    merged = lora.merge(train.params, learner.frozen)
    batch = packing.pack(ROWS, 12, 8)
    _, loss = step.add_likelihood_gradient(
        step.zeros(merged),
        merged,
        jax.tree.map(jnp.asarray, batch),
        np.float32(len(ROWS)),
        np.float32(1.0),
        config=MODEL,
    )
    # the last loss was before the last step
    assert float(loss) == pytest.approx(losses[-1], rel=0.1)


def test_goes_on_from_a_checkpoint_bit_for_bit(learner, tmp_path):
    """The checkpoint holds no array of the base."""
    uninterrupted = improve(improve(fresh(learner), learner, 1), learner, 2)
    half = improve(fresh(learner), learner, 1)
    store.save(tmp_path, 1, half, {})
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), half)
    restored, _ = store.restore(tmp_path, 1, like)
    assert bits(improve(restored, learner, 2)) == bits(uninterrupted)
    size = sum(x.nbytes for x in jax.tree.leaves(half))
    assert size < 0.5 * sum(x.nbytes for x in jax.tree.leaves(learner.frozen.params))


def test_on_eight_devices(learner):
    layout = axes.Layout.of(mesh.make(MeshConfig(data=2, fsdp=2, tensor=2)), axes.TRAIN_RULES)
    base = place.to_layout(learner.frozen.params, layout)
    split = dataclasses.replace(learner, layout=layout, frozen=learner.frozen._replace(params=base))
    train = improve(fresh(learner), learner, 1)
    on_eight = state.create(place.to_layout(train.params, layout), OPTIMISER, layout)
    for array, sharding in zip(
        jax.tree.leaves(on_eight),
        jax.tree.leaves(state.shardings(on_eight.params, OPTIMISER, layout)),
        strict=True,
    ):
        assert array.sharding.is_equivalent_to(sharding, array.ndim)
    one, eight = policy_gradient(train, learner), policy_gradient(on_eight, split)
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(eight), strict=True
    ):
        assert np.abs(x).max() > 1e-5
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6, err_msg=str(path))


def policy_gradient(train: state.TrainState, learner: Learner):
    gradients, _ = step.add_policy_gradient(
        step.zeros(train.params, layout=learner.layout),
        train.params,
        place.batch(packing.pack(ROWS, 12, 8), learner.layout),
        np.float32(30.0),
        np.float32(0.9),
        objective=PolicyObjective(clip_epsilon=10.0),
        **learner.shared,
    )
    return gradients
