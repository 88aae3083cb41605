"""Folders in Hugging Face form: each device reads its part, and bad ones are refused by name."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from acim_jax.checkpoint import hf_config, hf_export, hf_import, hf_table, safetensors_file
from acim_jax.model import transformer
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support.hf_folders import (
    TIED,
    UNTIED,
    assert_same_bytes,
    edited,
    raw_tensors,
    sharded,
    small_config,
    with_tensors,
    write_random,
)

BIAS = "model.layers.2.self_attn.k_proj.bias"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dtype_on_load_and_save(tmp_path: Path, dtype: hf_import.Dtype):
    config = hf_config.read_config(TIED)
    name = "model.layers.1.mlp.down_proj.weight"
    tensor = raw_tensors(TIED)[name]
    assert tensor.dtype == ml_dtypes.bfloat16
    params = hf_import.load(TIED, config, dtype=dtype)
    down = np.asarray(params["blocks"]["mlp"]["w_down"][1])
    np.testing.assert_array_equal(down, tensor.astype(dtype).T)
    hf_export.save(tmp_path / "out", hf_import.load(TIED, config), config, dtype=dtype)
    np.testing.assert_array_equal(raw_tensors(tmp_path / "out")[name], tensor.astype(dtype))
    assert hf_config.read_config(tmp_path / "out").param_dtype == dtype


def test_padded_vocabulary_and_tied_copy_are_kept(tmp_path: Path):
    """Padded rows survive with any bits; a tied file may hold lm_head once more, if equal."""
    embedding = raw_tensors(TIED)["model.embed_tokens.weight"]
    padded = np.concatenate([embedding, -embedding[:8]])
    change = {"model.embed_tokens.weight": padded, "lm_head.weight": padded}
    folder = with_tensors(tmp_path, change, TIED)
    config = dataclasses.replace(hf_config.read_config(TIED), vocab_size=168)
    params = hf_import.load(folder, config)
    assert np.asarray(params["embed"]["embedding"]).tobytes() == padded.tobytes()
    other = padded.copy()
    other[-1, -1] *= -1
    safetensors.numpy.save_file(
        raw_tensors(folder) | {"lm_head.weight": other}, folder / "model.safetensors"
    )
    with pytest.raises(ValueError, match=r"lm_head\.weight differs from model\.embed_tokens"):
        hf_import.load(folder, config)


def test_each_device_reads_its_part_once(monkeypatch: pytest.MonkeyPatch):
    """On 2×2×2 devices: values as unsharded, and each half of a tensor leaves the file once."""
    config = hf_config.read_config(UNTIED)
    layout = axes.Layout.of(mesh.make(MeshConfig(data=2, fsdp=2, tensor=2)), axes.TRAIN_RULES)
    shardings = place.param_shardings(transformer.abstract_params(config), layout)
    fetched: dict[str, int] = {}
    fetch = safetensors_file.Tensor.fetch

    def counting(self: safetensors_file.Tensor, *args: Any, **named: Any) -> np.ndarray:
        part = fetch(self, *args, **named)
        fetched[self.name] = fetched.get(self.name, 0) + part.size
        return part

    monkeypatch.setattr(safetensors_file.Tensor, "fetch", counting)
    params = hf_import.load(UNTIED, config, shardings=shardings)
    for x, sharding in zip(jax.tree.leaves(params), jax.tree.leaves(shardings), strict=True):
        assert x.sharding.is_equivalent_to(sharding, x.ndim)
    assert fetched == {name: array.size for name, array in raw_tensors(UNTIED).items()}
    monkeypatch.undo()
    jax.tree.map(np.testing.assert_array_equal, params, hf_import.load(UNTIED, config))


def test_parameters_can_be_donated_and_outlive_the_file(tmp_path: Path):
    """They are the devices' own memory, not pages of the file, whatever its alignment."""
    folder = edited(tmp_path)
    params = hf_import.load(folder, hf_config.read_config(folder))
    size = (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").write_bytes(b"\0" * size)
    wanted = raw_tensors(UNTIED)
    np.testing.assert_array_equal(params["embed"]["embedding"], wanted["model.embed_tokens.weight"])
    add = jax.jit(lambda p: jax.tree.map(lambda x: x + 1, p), donate_argnums=0)
    donated = add(params)
    assert all(x.is_deleted() for x in jax.tree.leaves(params))
    np.testing.assert_array_equal(
        donated["unembed"]["kernel"], wanted["lm_head.weight"].T + np.float32(1)
    )


_LAYER = "model.layers.1.self_attn."


@pytest.mark.parametrize("parts", [0, 3])
@pytest.mark.parametrize("family", sorted(hf_table.FAMILIES))
def test_buffers_of_earlier_versions_are_ignored(tmp_path: Path, family: str, parts: int):
    """Frequencies of RoPE follow from config.json, whatever the file's tensor holds."""
    folder = tmp_path / "m"
    weights = write_random(folder, small_config(family), "float32")
    buffers = {
        f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": np.full(4, np.nan, np.float32)
        for layer in range(4)
    }
    buffers |= {
        "model.rotary_emb.inv_freq": np.ones(4, np.float64),
        _LAYER + "rotary_emb.cos_cached": np.ones((1, 1, 8, 8), np.float32),
        _LAYER + "rotary_emb.sin_cached": np.ones((1, 1, 8, 8), np.float32),
        _LAYER + "masked_bias": np.array(-1e9, np.float32),
    }
    safetensors.numpy.save_file(weights | buffers, folder / "model.safetensors")
    if parts:
        sharded(folder, parts)
    config = hf_config.read_config(folder)
    params = hf_import.load(folder, config)
    hf_export.save(tmp_path / "out", params, config)
    assert_same_bytes(raw_tensors(tmp_path / "out"), weights)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.self_attn.bias",
        "model.layers.1.self_attn.rotary_emb.weight",
        "model.layers.1.mlp.rotary_emb.inv_freq",
        "inv_freq",
    ],
)
def test_other_tensors_without_a_place_are_refused(tmp_path: Path, name: str):
    folder = with_tensors(tmp_path, {name: np.ones(4, np.float32)})
    with pytest.raises(ValueError, match=f"tensor {name} has no place in a qwen2 model"):
        hf_import.load(folder, hf_config.read_config(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({BIAS: None}, f"has no tensor {BIAS} \\(1 missing"),
        ({"model.layers.3.mlp.up_proj.weight": np.ones(2, np.float32)}, "layers.3.* has no place"),
        ({BIAS: np.ones(21, np.float32)}, rf"{BIAS} has shape \(21,\).*calls for \(20,\)"),
        ({BIAS: np.ones((20, 1), np.float32)}, rf"{BIAS} has shape \(20, 1\).*for \(20,\)"),
        ({BIAS: np.full(20, np.nan, np.float32)}, f"{BIAS} holds NaN"),
        ({BIAS: np.array([1] * 19 + [-np.inf], np.float32)}, f"{BIAS} holds NaN or infinite"),
        ({BIAS: np.full(20, np.nan, ml_dtypes.bfloat16)}, f"{BIAS} has dtype bfloat16, but .*0"),
        ({BIAS: np.ones(20, np.int32)}, f"{BIAS} has dtype I32; supported: F32, BF16, F16"),
    ],
)
def test_bad_tensors_are_named(tmp_path: Path, change: dict, message: str):
    folder = with_tensors(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        hf_import.load(folder, hf_config.read_config(folder))


def test_values_that_the_wanted_dtype_cannot_hold_are_refused(tmp_path: Path):
    """65504 is float16's largest; bfloat16 has 65280 and then 65536."""
    folder = with_tensors(tmp_path, {BIAS: np.full(20, 65505, np.float32)})
    config = hf_config.read_config(folder)
    with pytest.raises(ValueError, match=f"{BIAS} holds values beyond the range of float16"):
        hf_import.load(folder, config, dtype="float16")
    folder = with_tensors(tmp_path, {BIAS: np.full(20, -65504, np.float32)})
    params = hf_import.load(folder, config, dtype="float16")
    np.testing.assert_array_equal(params["blocks"]["attention"]["b_k"][2], -65504)


def test_a_file_that_is_not_whole_is_named(tmp_path: Path):
    folder = edited(tmp_path)
    config = hf_config.read_config(folder)
    _, second, third = sharded(folder, 3)
    whole = second.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in (0, 7, header - 1, header, len(whole) - 1):
        second.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{second.name} is truncated or not a safetensors"):
            hf_import.load(folder, config)
    second.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=f"{second.name} is truncated or not a safetensors"):
        hf_import.load(folder, config)
    second.write_bytes(whole)
    os.remove(third)
    with pytest.raises(FileNotFoundError, match=f"{third.name} is missing; .*index.json names it"):
        hf_import.load(folder, config)


def test_a_bad_index_is_named(tmp_path: Path):
    folder = edited(tmp_path)
    config = hf_config.read_config(folder)
    first, second = sharded(folder, 2)
    index = folder / "model.safetensors.index.json"
    right = json.loads(index.read_text())["weight_map"]
    there = {name for name, file in right.items() if file == first.name}
    for weight_map, message in [
        (right | {"ghost": first.name}, f"Tensor ghost is not in .*{first.name}, where"),
        (right | {min(there): second.name}, f"Tensor {min(there)} is not in .*{second.name}"),
        (right | {BIAS: "../a.safetensors"}, f"{BIAS} must be in a file of this folder"),
        (right | {BIAS: 3}, f"{BIAS} must be in a file of this folder, got 3"),
        ({}, "index.json has no 'weight_map'"),
        ([], "index.json has no 'weight_map'"),
    ]:
        index.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(ValueError, match=message):
            hf_import.load(folder, config)
    index.write_text('{"weight_map": ')
    with pytest.raises(ValueError, match=r"index\.json is not valid JSON"):
        hf_import.load(folder, config)
    index.write_text(json.dumps({"weight_map": right}))
    twice = raw_tensors(UNTIED)
    added = {name: twice[name] for name in (*set(right) - there, min(there))}
    safetensors.numpy.save_file(added, second)
    with pytest.raises(
        ValueError, match=f"{min(there)} is in {first.name} and again in .*{second.name}"
    ):
        hf_import.load(folder, config)


def test_a_folder_without_safetensors_is_refused_by_what_it_holds(tmp_path: Path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    shutil.copy(UNTIED / "config.json", folder)
    config = hf_config.read_config(folder)
    with pytest.raises(FileNotFoundError, match=r"has no weights: model\.safetensors, or shards"):
        hf_import.load(folder, config)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(
        FileNotFoundError, match=r"only as pytorch_model\.bin.*never read.*save_pre"
    ):
        hf_import.load(folder, config)
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        hf_config.read_config(tmp_path)


def test_one_file_wins_over_shards_beside_it(tmp_path: Path):
    """As in transformers."""
    folder = edited(tmp_path)
    sharded(folder, 2)
    doubled = {name: 2 * array for name, array in raw_tensors(UNTIED).items()}
    safetensors.numpy.save_file(doubled, folder / "model.safetensors")
    params = hf_import.load(folder, hf_config.read_config(folder))
    np.testing.assert_array_equal(params["final_norm"]["scale"], doubled["model.norm.weight"])
