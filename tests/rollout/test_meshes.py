"""Samples on meshes of different shapes against those of one device, near ties aside."""

import dataclasses

import jax
import numpy as np
import pytest

from acim_jax.config.run import RunConfig
from acim_jax.improve.config import ImproveConfig
from acim_jax.records import Episode
from acim_jax.rollout.engine import RolloutStats
from acim_jax.run import preparation
from acim_jax.sampling.config import SamplingConfig
from acim_jax.sharding import mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support import episodes, tiny_models

WANTED = tiny_models.requests(3, 3)
MESHES = [((8, 1, 1), 8), ((2, 2, 2), 8), ((1, 4, 2), 8), ((1, 1, 2), 2)]


def layouts(sizes: tuple[int, int, int], devices: int):
    train, sample = mesh.layouts(MeshConfig(*sizes), jax.devices()[:devices])
    assert train is not None and sample is not None
    return train, sample


@pytest.fixture(scope="module")
def alone() -> tuple[list[Episode], RolloutStats]:
    return tiny_models.run(tiny_models.make_sampler(prefill_buckets=(16,)), WANTED)


@pytest.mark.parametrize(("sizes", "devices"), MESHES)
def test_samples_are_those_of_one_device(alone, sizes, devices):
    train, sample = layouts(sizes, devices)
    params = place.to_sampling(place.to_layout(tiny_models.make_params(), train), train, sample)
    sampler = tiny_models.make_sampler(layout=sample, prefill_buckets=(16,))
    theirs, stats = tiny_models.run(sampler, WANTED, params=params)
    ours, own_stats = alone
    assert sum(len(e.executions) for e in ours) > 5
    different = episodes.count_different(ours, theirs, atol=1e-5)
    assert different <= stats.near_ties + own_stats.near_ties < len(WANTED) // 3


@pytest.mark.parametrize(("sizes", "devices"), MESHES)
def test_weights_of_the_sampler(sizes, devices):
    """Whole but for the tensor axis, with the training weights' values, and not by the host."""
    train, sample = layouts(sizes, devices)
    host = tiny_models.make_params()
    params = place.to_layout(host, train)
    with jax.transfer_guard("disallow_explicit"):
        moved = place.to_sampling(params, train, sample)
        if sizes[1] > 1:
            with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
                place.to_layout(params, sample)
    for x, y in zip(jax.tree.leaves(moved), jax.tree.leaves(host), strict=True):
        np.testing.assert_array_equal(x, y)
    w_q, tensor = moved["blocks"]["attention"]["w_q"], sizes[2]
    assert {shard.data.shape for shard in w_q.addressable_shards} == {(2, 32, 4 // tensor, 8)}
    is_copied = w_q is not params["blocks"]["attention"]["w_q"]
    assert is_copied == (sizes[1] > 1)


@pytest.mark.parametrize(("sizes", "shards"), [((2, 2, 2), 4), ((8, 1, 1), 8)])
def test_slots_that_cannot_be_shared_are_refused(sizes, shards):
    """By every sampler, and by a run's check before it reads any weights."""
    message = rf"sampling\.slots is 10, .* into {shards} equal parts"
    with pytest.raises(ValueError, match=message):
        tiny_models.make_sampler(layout=layouts(sizes, 8)[1], slots=10)
    # Slots are of each process, so only a run's check knows their parts.
    config = RunConfig(mesh=MeshConfig(sizes[0], -1, sizes[2]), sampling=SamplingConfig(slots=10))
    with pytest.raises(ValueError, match=message):
        preparation.check_rows(config)
    config = dataclasses.replace(config, sampling=SamplingConfig(slots=3 * shards))
    preparation.check_rows(config)
    with pytest.raises(ValueError, match=r"improve\.microbatch_rows is 5, .* multiple of"):
        preparation.check_rows(
            dataclasses.replace(config, improve=ImproveConfig(microbatch_rows=5))
        )
