"""Folders in Hugging Face form: round trips bit for bit, shards read in place, bad ones refused."""

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
from jax.sharding import Mesh

from acim_jax.checkpoint import hf, hf_import
from acim_jax.markup import Markup
from acim_jax.model import transformer
from acim_jax.sharding import axes, mesh, place

GOLDEN = Path(__file__).parents[1] / "golden"
UNTIED, TIED = GOLDEN / "qwen2_untied", GOLDEN / "qwen2_tied_bfloat16"


def raw_tensors(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of a folder as bytes, read without the code under test."""
    tensors: dict[str, np.ndarray] = {}
    for file in folder.glob("*.safetensors"):
        tensors |= safetensors.numpy.load_file(file)
    return tensors


def assert_same_bytes(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape)
        assert a[name].tobytes() == b[name].tobytes(), name


def edited(tmp_path: Path, source: Path = UNTIED, **fields: Any) -> Path:
    """A copy of a golden folder with fields of its config.json changed (None: left out)."""
    folder = tmp_path / "edited"
    shutil.copytree(source, folder)
    content = json.loads((folder / "config.json").read_text()) | fields
    content = {name: value for name, value in content.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def with_tensors(tmp_path: Path, change: dict[str, np.ndarray | None], source: Path) -> Path:
    """A copy of a golden folder with tensors replaced or added (None: left out)."""
    folder = edited(tmp_path, source)
    tensors = raw_tensors(source) | change
    kept = {name: array for name, array in tensors.items() if array is not None}
    safetensors.numpy.save_file(kept, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("source", [UNTIED, TIED], ids=lambda path: path.name)
@pytest.mark.parametrize("max_shard_bytes", [10**9, 9000])
def test_round_trip_is_bit_equal(tmp_path: Path, source: Path, max_shard_bytes: int):
    config = hf.read_config(source)
    out = tmp_path / "deep" / "out"
    hf.save(out, hf.load(source, config), config, max_shard_bytes=max_shard_bytes)
    assert_same_bytes(raw_tensors(out), raw_tensors(source))
    assert hf.read_config(out) == config
    again = hf.load(out, config)
    jax.tree.map(np.testing.assert_array_equal, again, hf.load(source, config))
    if max_shard_bytes < 10**9:
        sizes = [file.stat().st_size for file in out.glob("model-*.safetensors")]
        index = json.loads((out / "model.safetensors.index.json").read_text())
        largest = max(array.nbytes for array in raw_tensors(source).values())
        assert len(sizes) > 2
        assert max(sizes) < max(max_shard_bytes, largest) + 4096
        assert index["metadata"]["total_size"] == sum(a.nbytes for a in raw_tensors(out).values())


def test_padded_vocabulary_and_tied_copy_are_kept(tmp_path: Path):
    """Padded rows survive with any bits; a tied file may hold lm_head once more, if equal."""
    embedding = raw_tensors(TIED)["model.embed_tokens.weight"]
    padded = np.concatenate([embedding, -embedding[:8]])
    change: dict[str, np.ndarray | None] = {
        "model.embed_tokens.weight": padded,
        "lm_head.weight": padded,
    }
    folder = with_tensors(tmp_path, change, TIED)
    config = dataclasses.replace(hf.read_config(TIED), vocab_size=168)
    params = hf.load(folder, config)
    assert np.asarray(params["embed"]["embedding"]).tobytes() == padded.tobytes()
    safetensors.numpy.save_file(
        raw_tensors(folder) | {"lm_head.weight": -padded}, folder / "model.safetensors"
    )
    with pytest.raises(ValueError, match=r"lm_head\.weight differs from model\.embed_tokens"):
        hf.load(folder, config)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dtype_on_load_and_save(tmp_path: Path, dtype: hf_import.Dtype):
    config = hf.read_config(TIED)
    name = "model.layers.1.mlp.down_proj.weight"
    tensor = raw_tensors(TIED)[name]
    assert tensor.dtype == ml_dtypes.bfloat16
    params = hf.load(TIED, config, dtype=dtype)
    down = np.asarray(params["blocks"]["mlp"]["w_down"][1])
    np.testing.assert_array_equal(down, tensor.astype(dtype).T)
    hf.save(tmp_path / "out", hf.load(TIED, config), config, dtype=dtype)
    np.testing.assert_array_equal(raw_tensors(tmp_path / "out")[name], tensor.astype(dtype))
    assert hf.read_config(tmp_path / "out").param_dtype == dtype


def test_each_device_reads_its_part_once(monkeypatch: pytest.MonkeyPatch):
    """On 2×2×2 devices: values as unsharded, and each half of a tensor leaves the file once."""
    config = hf.read_config(UNTIED)
    devices: Mesh = mesh.make(mesh.MeshConfig(data=2, fsdp=2, tensor=2))
    layout = axes.Layout.of(devices, axes.TRAIN_RULES)
    shardings = place.param_shardings(transformer.abstract_params(config), layout)
    fetched: dict[str, int] = {}
    fetch = hf_import._Tensor.fetch

    def counting(self: hf_import._Tensor, index: Any) -> np.ndarray:
        part = fetch(self, index)
        fetched[self.name] = fetched.get(self.name, 0) + part.size
        return part

    monkeypatch.setattr(hf_import._Tensor, "fetch", counting)
    params = hf.load(UNTIED, config, shardings=shardings)
    for x, sharding in zip(jax.tree.leaves(params), jax.tree.leaves(shardings), strict=True):
        assert x.sharding.is_equivalent_to(sharding, x.ndim)
    assert fetched == {name: array.size for name, array in raw_tensors(UNTIED).items()}
    monkeypatch.undo()
    jax.tree.map(np.testing.assert_array_equal, params, hf.load(UNTIED, config))
    donated = jax.jit(lambda p: jax.tree.map(lambda x: x + 1, p), donate_argnums=0)(params)
    assert donated["final_norm"]["scale"][0] == raw_tensors(UNTIED)["model.norm.weight"][0] + 1


BIAS = "model.layers.2.self_attn.k_proj.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({BIAS: None}, f"has no tensor {BIAS} \\(1 missing"),
        ({"model.layers.3.mlp.up_proj.weight": np.ones(2, np.float32)}, "layers.3.* has no place"),
        ({BIAS: np.ones(21, np.float32)}, rf"{BIAS} has shape \(21,\).*calls for \(20,\)"),
        ({BIAS: np.full(20, np.nan, np.float32)}, f"{BIAS} holds NaN"),
        ({BIAS: np.ones(20, np.int32)}, f"{BIAS} has dtype I32; supported"),
    ],
)
def test_bad_tensors_are_named(tmp_path: Path, change: dict, message: str):
    folder = with_tensors(tmp_path, change, UNTIED)
    with pytest.raises(ValueError, match=message):
        hf.load(folder, hf.read_config(folder))


def test_bad_files_are_named(tmp_path: Path):
    config = hf.read_config(UNTIED)
    sharded = tmp_path / "sharded"
    hf.save(sharded, hf.load(UNTIED, config), config, max_shard_bytes=9000)
    second = sorted(sharded.glob("model-*"))[1]
    os.truncate(second, second.stat().st_size - 10)
    with pytest.raises(ValueError, match=f"{second.name} is truncated"):
        hf.load(sharded, config)
    second.unlink()
    with pytest.raises(FileNotFoundError, match=f"{second.name} is missing"):
        hf.load(sharded, config)
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        hf.read_config(tmp_path)
    broken = edited(tmp_path)
    (broken / "config.json").write_text('{\n "model_type": ')
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON: .*line 2"):
        hf.read_config(broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing, nor is there"):
        shutil.copy(UNTIED / "config.json", broken)
        hf.load(broken, config)


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = hf.read_config(UNTIED)
    params = hf.load(UNTIED, config)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):

        def fail(*args: object, **kwargs: object) -> None:
            raise OSError("disk full")

        patch.setattr(safetensors.numpy, "save_file", fail)
        hf.save(tmp_path / "out", params, config)
    assert list(tmp_path.iterdir()) == []
    truncated = params | {"final_norm": {"scale": np.ones(23, np.float32)}}
    with pytest.raises(ValueError, match=r"final_norm/scale has shape \(23,\).*has \(24,\)"):
        hf.save(tmp_path / "out", truncated, config)
    with pytest.raises(ValueError, match="always has qkv_bias: True"):
        plain = dataclasses.replace(config, qkv_bias=False)
        abstract = transformer.abstract_params(plain)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
        hf.save(tmp_path / "out", zeros, plain)
    assert list(tmp_path.iterdir()) == []


def test_what_is_overwritten(tmp_path: Path):
    config = hf.read_config(UNTIED)
    params = hf.load(UNTIED, config)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty"):
        hf.save(out, params, config)
    with pytest.raises(ValueError, match="not a model folder"):
        hf.save(out, params, config, overwrite=True)
    (out / "thesis.tex").unlink()
    hf.save(out, params, config)
    with pytest.raises(ValueError, match="is not empty"):
        hf.save(out, params, config)
    scaled = jax.tree.map(lambda x: 2 * x, params)
    hf.save(out, scaled, config, overwrite=True)
    np.testing.assert_array_equal(
        raw_tensors(out)["model.norm.weight"], 2 * raw_tensors(UNTIED)["model.norm.weight"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_tokenizer_files_markup_and_special_ids(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    added = [{"id": 1, "content": "<|end|>"}, {"id": 0, "content": "<|pad|>"}]
    (source / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    settings = {"eos_token": {"content": "<|end|>"}, "pad_token": "<|pad|>", "bos_token": None}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    (source / "chat_template.jinja").write_text("{{ messages }}")
    config = hf.read_config(UNTIED)
    markup = Markup(template="<|user|>{problem}\n", max_turns=3, stop=("<|end|>",))
    hf.save(
        tmp_path / "out",
        hf.load(UNTIED, config),
        config,
        tokenizer_files_from=source,
        markup=markup,
    )
    out = tmp_path / "out"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    for name in ("config.json", "generation_config.json"):
        content = json.loads((out / name).read_text())
        assert (content["eos_token_id"], content["pad_token_id"]) == (1, 0)
    assert hf.read_markup(out) == markup
