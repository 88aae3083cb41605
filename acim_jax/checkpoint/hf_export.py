"""Weights to a folder that transformers loads, by the same table that import reads.

Atomic: the folder appears whole under its name or not at all. Streams: one tensor at a time.
"""

import collections
import functools
import itertools
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from acim_jax import bad_input
from acim_jax.checkpoint import (
    acim_yaml,
    hf_config,
    hf_fields,
    hf_import,
    hf_table,
    safetensors_file,
)
from acim_jax.checkpoint.hf_fields import Fields
from acim_jax.checkpoint.hf_table import Weight
from acim_jax.checkpoint.safetensors_file import bits_of
from acim_jax.files import atomic_folder
from acim_jax.markup import Markup
from acim_jax.model.config import Dtype, ModelConfig
from acim_jax.model.transformer import Params

GENERATION = "generation_config.json"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
#: More chat templates by name, one file each.
TEMPLATES = "additional_chat_templates"
_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def save(
    folder: Path,
    params: Params,
    config: ModelConfig,
    *,
    tokenizer_files_from: Path | None = None,
    markup: Markup | None = None,
    dtype: Dtype | None = None,
    max_shard_bytes: int = 5 * 10**9,
    overwrite: bool = False,
) -> None:
    """Writes a folder that transformers loads, atomically.

    dtype: of the tensors, default that of the parameters. A non-empty folder is only replaced
    with `overwrite`, and only if it is a model folder. Holds one tensor in host memory at a time.
    In a job of several processes all of them call this; the first one writes.

    Raises `BadInput` for a folder that is not replaced, a model that the family's form cannot hold,
    and weights that are not finite (in `dtype`), naming the tensor.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    with bad_input.reading():
        _check_target(folder, overwrite)
        weights = hf_table.family_of(config).weights_of(config)
        _check_params(flat, weights)
        stored = dtype or str(flat["embed/embedding"].dtype)
        special_ids = _special_ids(tokenizer_files_from) if tokenizer_files_from else {}
        config_json = hf_config.config_json(config, stored, special_ids)
    shapes = {name: weight.tensor_shape for weight in weights for name in weight.tensor_names}
    target = np.dtype(jax.numpy.dtype(stored))
    tensors = _tensors(flat, weights, target)
    if jax.process_index() == 0:
        with atomic_folder.replacing(folder) as made:
            _write_tensors(made, shapes, tensors, target, max_shard_bytes)
            hf_fields.write_json(made / "config.json", config_json)
            hf_fields.write_json(made / GENERATION, {"_from_model_config": True, **special_ids})
            if tokenizer_files_from is not None:
                _copy_tokenizer(tokenizer_files_from, made)
            if markup is not None:
                acim_yaml.write_markup(made, markup)
    else:
        collections.deque(tensors, maxlen=0)  # takes part in gathering them
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"{folder} is written")


def _check_target(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder to write the model to.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"{folder} is not empty; name another folder or ask to overwrite it.")
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a model folder, so it is not overwritten; name another.")


def _check_params(flat: dict[str, Any], weights: Sequence[Weight]) -> None:
    shapes = {weight.path: weight.param_shape for weight in weights}
    found = {path: getattr(value, "shape", None) for path, value in flat.items()}
    for path in sorted(shapes.keys() | found.keys()):
        if shapes.get(path) != found.get(path):
            raise ValueError(
                f"Parameter {path} has shape {found.get(path, 'nothing')}; a model of this "
                f"configuration has {shapes.get(path, 'no such parameter')}."
            )


def _tensors(
    flat: dict[str, Any], weights: Sequence[Weight], dtype: np.dtype
) -> Iterator[np.ndarray]:
    """The file's tensors in the table's order; every process of a job must ask for all of them."""
    for weight in weights:
        param: jax.Array = flat[weight.path]
        places = np.ndindex(*weight.stack_shape)
        for name, at in zip(weight.tensor_names, places, strict=True):
            array = _fetch(param, np.array(at, np.int32))
            with bad_input.reading():
                safetensors_file.check_finite(array, dtype, f"The model's tensor {name}")
            yield weight.write(array.astype(dtype, copy=False))


def _fetch(param: jax.Array, at: np.ndarray) -> np.ndarray:
    """The array at `at` of the parameter's leading axes, on the host. Sliced on the devices first:
    an array keeps its copy on the host for as long as it lives."""
    if param.is_fully_addressable:
        bits = np.asarray(_take(None)(param, at))
    else:
        bits = np.asarray(_take(param.sharding)(param, at).addressable_data(0))
    return bits.view(param.dtype)


@functools.cache
def _take(gathered_from: Sharding | None) -> Callable[[jax.Array, np.ndarray], jax.Array]:
    """Takes one array, as bits; gathered to every device of a sharding's mesh."""

    def take(param: jax.Array, at: jax.Array) -> jax.Array:
        # As bits, for the reasons that `hf_import` states.
        bits = jax.lax.bitcast_convert_type(param, bits_of(param.dtype))
        start = [*at, *(0 for _ in range(param.ndim - len(at)))]
        shape = param.shape[len(at) :]
        taken = jax.lax.dynamic_slice(bits, start, (1,) * len(at) + shape)
        return taken.reshape(shape)

    if gathered_from is None:
        return jax.jit(take)
    assert isinstance(gathered_from, NamedSharding)
    return jax.jit(take, out_shardings=NamedSharding(gathered_from.mesh, PartitionSpec()))


def _write_tensors(
    folder: Path,
    shapes: dict[str, tuple[int, ...]],
    tensors: Iterator[np.ndarray],
    dtype: np.dtype,
    max_shard_bytes: int,
) -> None:
    """One file, or numbered shards with an index where they exceed `max_shard_bytes`."""
    sizes = {name: math.prod(shape) * dtype.itemsize for name, shape in shapes.items()}
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > max_shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        file = file if len(shards) > 1 else hf_import.SINGLE
        own_shapes = {name: shapes[name] for name in names}
        own_tensors = itertools.islice(tensors, len(names))
        safetensors_file.write(folder / file, own_shapes, dtype, own_tensors)
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        metadata = {"total_size": sum(sizes.values())}
        index = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
        hf_fields.write_json(folder / hf_import.INDEX, index)


def _copy_tokenizer(source: Path, target: Path) -> None:
    """The source's tokenizer, chat templates and generation settings, byte for byte."""
    for file in (*TOKENIZER_FILES, GENERATION):
        if (source / file).is_file():
            shutil.copyfile(source / file, target / file)
    if (source / TEMPLATES).is_dir():
        shutil.copytree(source / TEMPLATES, target / TEMPLATES)


def _special_ids(source: Path) -> dict[str, Any]:
    """The ids of bos, eos and pad: as the source's config says, else as its tokenizer does."""
    if (source / "config.json").is_file():
        content = Fields(hf_fields.read_json(source / "config.json"), source / "config.json")
        stated = {name: content.token_ids(name) for name in _SPECIAL_IDS}
        if found := {name: ids for name, ids in stated.items() if ids is not None}:
            return found
    if not all((source / name).is_file() for name in TOKENIZER_FILES[:2]):
        return {}
    added = hf_fields.read_json(source / "tokenizer.json").get("added_tokens", [])
    ids = {token["content"]: token["id"] for token in added}
    settings = hf_fields.read_json(source / "tokenizer_config.json")
    found = {}
    for name in _SPECIAL_IDS:
        token = settings.get(name.removesuffix("_id"))
        content = token.get("content") if isinstance(token, dict) else token
        if content in ids:
            found[name] = ids[content]
    return found
