"""Model folders in Hugging Face form, written and read without the code under test."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors.numpy

from acim_jax.checkpoint import hf_config, hf_table
from acim_jax.model.config import Dtype, Experts, ModelConfig

GOLDEN = Path(__file__).parents[1] / "golden"
UNTIED, TIED = GOLDEN / "qwen2_untied", GOLDEN / "qwen2_tied_bfloat16"
DTYPES: dict[Dtype, np.dtype] = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}


def raw_tensors(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of a folder, read by the safetensors package."""
    tensors: dict[str, np.ndarray] = {}
    for file in folder.glob("*.safetensors"):
        tensors |= safetensors.numpy.load_file(file)
    return tensors


def assert_same_bytes(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape)
        assert a[name].tobytes() == b[name].tobytes(), name


def edited(tmp_path: Path, source: Path = UNTIED, **fields: Any) -> Path:
    """A copy of a folder with fields of its config.json changed (None: left out)."""
    folder = tmp_path / "edited"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    content = json.loads((folder / "config.json").read_text()) | fields
    content = {name: value for name, value in content.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def with_tensors(
    tmp_path: Path, change: Mapping[str, np.ndarray | None], source: Path = UNTIED
) -> Path:
    """A copy of a folder with tensors replaced or added (None: left out)."""
    folder = edited(tmp_path, source)
    tensors = {**raw_tensors(source), **change}
    kept = {name: array for name, array in tensors.items() if array is not None}
    safetensors.numpy.save_file(kept, folder / "model.safetensors")
    return folder


def sharded(folder: Path, parts: int) -> list[Path]:
    """Cuts a folder's one file of tensors into numbered shards with an index; returns them."""
    tensors = raw_tensors(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files, weight_map = [], {}
    for part in range(parts):
        file = folder / f"model-{part + 1:05d}-of-{parts:05d}.safetensors"
        safetensors.numpy.save_file({name: tensors[name] for name in names[part::parts]}, file)
        weight_map |= dict.fromkeys(names[part::parts], file.name)
        files.append(file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return files


def small_config(family: str, dtype: Dtype = "float32", *, tied: bool = True) -> ModelConfig:
    """A decoder of each family whose axes all differ and divide by 2."""
    return ModelConfig(
        vocab_size=22,
        hidden_size=16,
        intermediate_size=10,
        num_layers=4,
        num_heads=6,
        num_kv_heads=2,
        head_dim=8,
        tie_embeddings=tied,
        qkv_bias=family == "qwen2",
        qk_norm=family.startswith("qwen3"),
        experts=Experts(4, 2, 14, normalize=True) if family == "qwen3_moe" else None,
        family=family,
        dtype=dtype,
        param_dtype=dtype,
    )


def any_finite(shape: tuple[int, ...], dtype: np.dtype, seed: int) -> np.ndarray:
    """Finite values of arbitrary bits, among them both zeros, subnormals and the largest."""
    limits = ml_dtypes.finfo(dtype)
    special = np.array(
        [-0.0, 0.0, limits.smallest_subnormal, -limits.smallest_subnormal, limits.max, limits.min],
        dtype,
    )
    bits = np.random.default_rng(seed).bytes(int(np.prod(shape)) * dtype.itemsize)
    values = np.frombuffer(bits, dtype).reshape(shape).copy()
    with np.errstate(invalid="ignore"):
        values[~np.isfinite(values)] = special[2]
    values.reshape(-1)[: len(special)] = special[: values.size]
    return values


def write_random(folder: Path, config: ModelConfig, dtype: Dtype) -> dict[str, np.ndarray]:
    """A folder of `any_finite` tensors, written by the safetensors package; returns them."""
    names = {
        name: weight.tensor_shape
        for weight in hf_table.family_of(config).weights_of(config)
        for name in weight.tensor_names
    }
    tensors = {
        name: any_finite(shape, DTYPES[dtype], seed)
        for seed, (name, shape) in enumerate(names.items())
    }
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    content = hf_config.config_json(config, dtype, {})
    (folder / "config.json").write_text(json.dumps(content))
    return tensors
