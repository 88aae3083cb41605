"""Parameters and moments are really split, and come back whole."""

import dataclasses

import jax
import numpy as np
import pytest

from acim_jax.improve import state
from acim_jax.improve.config import ImproveConfig
from acim_jax.model import transformer
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG


@pytest.fixture(scope="module")
def eight() -> jax.sharding.Mesh:
    return mesh.make(MeshConfig(data=2, fsdp=2, tensor=2))


def shard_bytes(tree) -> int:
    return sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))


def test_parameters_are_split_and_come_back(eight):
    params = tiny_models.make_params()
    train = place.to_layout(params, axes.Layout.of(eight, axes.TRAIN_RULES))
    block = train["blocks"]
    D, N, K, H, F = 32, 4, 2, 8, 48
    shapes = {
        "w_q": (block["attention"]["w_q"], (2, D // 2, N // 2, H)),
        "b_k": (block["attention"]["b_k"], (2, K // 2, H)),
        "w_o": (block["attention"]["w_o"], (2, N // 2, H, D // 2)),
        "w_down": (block["mlp"]["w_down"], (2, F // 2, D // 2)),
        "embedding": (train["embed"]["embedding"], (321, D // 2)),
        "norm": (train["final_norm"]["scale"], (D,)),
    }
    for name, (array, shape) in shapes.items():
        assert array.addressable_shards[0].data.shape == shape, name
    sample = place.to_layout(train, axes.Layout.of(eight, axes.SAMPLE_RULES))
    assert sample["blocks"]["attention"]["w_q"].addressable_shards[0].data.shape == (
        2,
        D,
        N // 2,
        H,
    )
    for whole in (train, sample):
        for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(params), strict=True):
            np.testing.assert_array_equal(one, other)


def test_moments_are_split_as_their_parameters(eight):
    layout = axes.Layout.of(eight, axes.TRAIN_RULES)
    optimiser = state.optimizer(ImproveConfig(weight_decay=0.1))
    train = state.create(place.to_layout(tiny_models.make_params(), layout), optimiser, layout)
    whole = sum(x.nbytes for x in jax.tree.leaves(train.params))
    assert shard_bytes(train.params) < 0.3 * whole
    # the two moments, and one count of steps
    assert shard_bytes(train.opt_state) == 2 * shard_bytes(train.params) + 4
    planned = state.shardings(train.params, optimiser, layout)
    for array, sharding in zip(jax.tree.leaves(train), jax.tree.leaves(planned), strict=True):
        assert array.sharding.is_equivalent_to(sharding, array.ndim)


def test_batches_are_split_by_rows(eight):
    layout = axes.Layout.of(eight, axes.TRAIN_RULES)
    batch = np.arange(8 * 3).reshape(8, 3)
    placed = place.put((batch, batch[:, 0]), layout, ("batch",))
    assert [x.addressable_shards[0].data.shape for x in placed] == [(2, 3), (2,)]
    np.testing.assert_array_equal(placed[0], batch)
    whole = place.put(batch, layout)
    assert whole.addressable_shards[5].data.shape == (8, 3)


def test_what_cannot_be_split_is_named(eight):
    layout = axes.Layout.of(eight, axes.TRAIN_RULES)
    config = dataclasses.replace(CONFIG, num_kv_heads=1)
    abstract = transformer.abstract_params(config)
    with pytest.raises(ValueError, match=r"attention/b_k of shape \(2, 1, 8\) .*'tensor': 2"):
        place.param_shardings(abstract, layout)
    with pytest.raises(ValueError, match="No logical axes are stated for the parameter 'extra'"):
        place.param_shardings({"extra": abstract["final_norm"]["scale"]}, layout)
