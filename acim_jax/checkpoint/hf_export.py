"""Weights to a folder that transformers loads, by the same table that import reads.

Atomic: the folder appears whole under its name or not at all.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax import traverse_util

from acim_jax.checkpoint import acim_yaml, hf_config, hf_import, hf_table
from acim_jax.markup import Markup
from acim_jax.model.config import Dtype, ModelConfig
from acim_jax.model.transformer import Params

GENERATION = "generation_config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
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
    with `overwrite`, and only if it is a model folder. Holds one shard in host memory at a time.
    """
    _check_target(folder, overwrite)
    rows = hf_table.family_of(config).rows_of(config)
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    _check_params(flat, rows, config)
    name = dtype or str(flat["embed/embedding"].dtype)
    special_ids = _special_ids(tokenizer_files_from) if tokenizer_files_from else {}
    config_json = hf_config.config_json(config, name, special_ids)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name}.partial-", dir=folder.parent, ignore_cleanup_errors=True
    ) as scratch:
        made = Path(scratch) / "model"
        made.mkdir()
        _write_tensors(made, _tensors(flat, rows, config, name), max_shard_bytes)
        _write_json(made / "config.json", config_json)
        _write_json(made / GENERATION, {"_from_model_config": True, **special_ids})
        if tokenizer_files_from is not None:
            for file in (*TOKENIZER_FILES, GENERATION):
                if (tokenizer_files_from / file).is_file():
                    shutil.copyfile(tokenizer_files_from / file, made / file)
        if markup is not None:
            acim_yaml.write_markup(made, markup)
        if folder.exists():
            os.replace(folder, Path(scratch) / "replaced")
        os.replace(made, folder)


def _check_target(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder to write the model to.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"{folder} is not empty; name another folder or ask to overwrite it.")
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a model folder, so it is not overwritten; name another.")


def _check_params(
    flat: dict[str, Any], rows: tuple[hf_table.Row, ...], config: ModelConfig
) -> None:
    shapes = {row.path: hf_table.param_shape(row, config) for row in rows}
    found = {path: getattr(value, "shape", None) for path, value in flat.items()}
    for path in sorted(shapes.keys() | found.keys()):
        if shapes.get(path) != found.get(path):
            raise ValueError(
                f"Parameter {path} has shape {found.get(path, 'nothing')}; a model of this "
                f"configuration has {shapes.get(path, 'no such parameter')}."
            )


def _tensors(
    flat: dict[str, Any], rows: tuple[hf_table.Row, ...], config: ModelConfig, dtype: str
) -> Iterator[tuple[str, np.ndarray]]:
    target = np.dtype(jax.numpy.dtype(dtype))
    for row in rows:
        value = np.asarray(jax.device_get(flat[row.path])).astype(target, copy=False)
        stack = hf_table.stack_shape(row, config)
        arrays = value.reshape(-1, *value.shape[len(stack) :])
        for name, array in zip(hf_table.tensor_names(row, config), arrays, strict=True):
            yield name, hf_table.write(row, config, array)


def _write_tensors(
    folder: Path, tensors: Iterator[tuple[str, np.ndarray]], max_shard_bytes: int
) -> None:
    """One file, or numbered shards with an index where they exceed `max_shard_bytes`."""
    shards: list[list[str]] = []
    pending: dict[str, np.ndarray] = {}
    total = 0

    def flush() -> None:
        part = folder / f"{len(shards)}.part"
        # transformers refuses files that do not state the framework that wrote them.
        safetensors.numpy.save_file(pending, part, metadata={"format": "pt"})
        shards.append(list(pending))
        pending.clear()

    for name, array in tensors:
        held = sum(kept.nbytes for kept in pending.values())
        if pending and held + array.nbytes > max_shard_bytes:
            flush()
        pending[name] = array
        total += array.nbytes
    flush()
    if len(shards) == 1:
        (folder / "0.part").rename(folder / hf_import.SINGLE)
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"{number}.part").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    _write_json(folder / hf_import.INDEX, index)


def _special_ids(source: Path) -> dict[str, Any]:
    """The ids of bos, eos and pad: as the source's config says, else as its tokenizer does."""
    if (source / "config.json").is_file():
        content = hf_config.read_json(source / "config.json")
        found = {name: content[name] for name in _SPECIAL_IDS if content.get(name) is not None}
        if found:
            return found
    if not (source / "tokenizer.json").is_file():
        return {}
    added = hf_config.read_json(source / "tokenizer.json").get("added_tokens", [])
    ids = {token["content"]: token["id"] for token in added}
    settings = hf_config.read_json(source / "tokenizer_config.json")
    found = {}
    for name in _SPECIAL_IDS:
        token = settings.get(name.removesuffix("_id"))
        content = token.get("content") if isinstance(token, dict) else token
        if content in ids:
            found[name] = ids[content]
    return found


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
