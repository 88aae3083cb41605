"""Layouts: which mesh axes an array's axes fall on, and what contradicts itself."""

import dataclasses

import jax
import pytest
from jax.sharding import PartitionSpec

from acim_jax.model import transformer
from acim_jax.model.config import Experts
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support import tiny_models


@pytest.fixture(scope="module")
def eight() -> jax.sharding.Mesh:
    return mesh.make(MeshConfig(data=2, fsdp=2, tensor=2))


def test_the_tables_give_these_partitions(eight):
    train = axes.Layout.of(eight, axes.TRAIN_RULES)
    sample = axes.Layout.of(eight, axes.SAMPLE_RULES)
    w_q = axes.PARAM_AXES["blocks/attention/w_q"]
    assert train.spec(w_q) == PartitionSpec(None, "fsdp", "tensor", None)
    assert sample.spec(w_q) == PartitionSpec(None, None, "tensor", None)
    assert train.spec(("batch", "sequence")) == PartitionSpec(("data", "fsdp"), None)
    assert (train.shards("batch"), train.shards("heads"), sample.shards("embed")) == (4, 2, 1)
    assert hash(train) == hash(axes.Layout.of(eight, dict(reversed(axes.TRAIN_RULES.items()))))


def test_every_parameter_has_axes_and_no_others_are_listed():
    experts = Experts(count=4, per_token=2, width=6, normalize=True)
    untied = dataclasses.replace(tiny_models.CONFIG, qk_norm=True, tie_embeddings=False)
    names: dict[str, int] = {}
    for config in (untied, dataclasses.replace(untied, experts=experts)):
        params = transformer.abstract_params(config)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            names[place.path_name(path)] = leaf.ndim
    assert names.keys() == axes.PARAM_AXES.keys()
    assert all(len(axes.PARAM_AXES[name]) == ndim for name, ndim in names.items())


def test_contradictions_are_refused(eight):
    with pytest.raises(ValueError, match="'embed' names the mesh axis 'model'; the mesh has"):
        axes.Layout.of(eight, axes.TRAIN_RULES | {"embed": "model"})
    twice = axes.Layout.of(eight, axes.TRAIN_RULES | {"embed": "tensor"})
    with pytest.raises(ValueError, match=r"would use the mesh axes \['tensor'\] twice"):
        twice.spec(("vocab", "embed"))
    with pytest.raises(ValueError, match="No sharding rule for the logical axis 'time'"):
        twice.spec(("time",))
