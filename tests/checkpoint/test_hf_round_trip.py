"""A folder read and written again has the same bits in every tensor, however it was held."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from acim_jax.checkpoint import hf_config, hf_export, hf_import
from acim_jax.model import transformer
from acim_jax.model.config import Dtype
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support.hf_folders import (
    TIED,
    UNTIED,
    assert_same_bytes,
    raw_tensors,
    small_config,
    write_random,
)

#: Everything that can be split is: layers and experts too.
SPLIT = axes.TRAIN_RULES | {
    "layers": "data",
    "expert": "tensor",
    "expert_mlp": None,
    "router": None,
}


@pytest.mark.parametrize("source", [UNTIED, TIED], ids=lambda path: path.name)
@pytest.mark.parametrize("max_shard_bytes", [10**9, 9000])
def test_round_trip_is_bit_equal(tmp_path: Path, source: Path, max_shard_bytes: int):
    config = hf_config.read_config(source)
    out = tmp_path / "deep" / "out"
    hf_export.save(out, hf_import.load(source, config), config, max_shard_bytes=max_shard_bytes)
    assert_same_bytes(raw_tensors(out), raw_tensors(source))
    assert hf_config.read_config(out) == config
    again = hf_import.load(out, config)
    jax.tree.map(np.testing.assert_array_equal, again, hf_import.load(source, config))
    if max_shard_bytes < 10**9:
        sizes = [file.stat().st_size for file in out.glob("model-*.safetensors")]
        index = json.loads((out / "model.safetensors.index.json").read_text())
        largest = max(array.nbytes for array in raw_tensors(source).values())
        assert len(sizes) > 2
        assert max(sizes) < max(max_shard_bytes, largest) + 4096
        assert index["metadata"]["total_size"] == sum(a.nbytes for a in raw_tensors(out).values())


@pytest.mark.parametrize(
    ("family", "dtype", "tied", "devices"),
    [
        ("qwen2", "float32", True, 8),
        ("qwen2", "bfloat16", False, 8),
        ("qwen2", "bfloat16", True, 1),
        ("qwen2", "float16", True, 1),
        ("llama", "bfloat16", False, 1),
        ("mistral", "float16", False, 8),
        ("qwen3", "float32", True, 1),
        ("qwen3_moe", "bfloat16", False, 8),
        ("qwen3_moe", "float16", False, 1),
    ],
)
def test_every_bit_of_every_family_and_dtype(
    tmp_path: Path, family: str, dtype: Dtype, tied: bool, devices: int
):
    """Subnormals, zeros of both signs and the largest values included; written in shards too."""
    config = small_config(family, dtype, tied=tied)
    tensors = write_random(tmp_path / "source", config, dtype)
    shardings = None
    if devices > 1:
        layout = axes.Layout.of(mesh.make(MeshConfig(data=2, fsdp=2, tensor=2)), SPLIT)
        shardings = place.param_shardings(transformer.abstract_params(config), layout)
    assert hf_config.read_config(tmp_path / "source") == config
    params = hf_import.load(tmp_path / "source", config, shardings=shardings)
    assert {x.dtype for x in jax.tree.leaves(params)} == {tensors["model.norm.weight"].dtype}
    for x in jax.tree.leaves(params):
        assert len(x.sharding.device_set) == devices
    hf_export.save(tmp_path / "out", params, config, max_shard_bytes=1500)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 5
    assert_same_bytes(raw_tensors(tmp_path / "out"), tensors)
