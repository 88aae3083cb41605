"""Weights from a Hugging Face folder, through the table in `hf_table.py`.

Streams: one tensor at a time, and of it only the slices that this process's devices hold.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
from flax import traverse_util
from jax.sharding import SingleDeviceSharding

from acim_jax.checkpoint import hf_config, hf_table
from acim_jax.model.config import Dtype, ModelConfig
from acim_jax.model.transformer import Params

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """One tensor of an open checkpoint: a lazy slice of it, and where it stands."""

    name: str
    file: Path
    lazy: Any

    def fetch(self, index: hf_table.Index) -> np.ndarray:
        """A slice; ValueError names the tensor if it holds NaN or infinity."""
        part = self.lazy[index]
        if not np.isfinite(part).all():
            raise ValueError(f"{self.file}: tensor {self.name} holds NaN or infinite values.")
        return part


def load(
    folder: Path,
    config: ModelConfig,
    *,
    shardings: Params | None = None,
    dtype: Dtype | None = None,
) -> Params:
    """The parameters of a folder, each straight into its sharding (default: the first device).

    shardings: a tree of the parameters' form. dtype: of the result, default `config.param_dtype`.
    Rows of a vocabulary padded beyond the tokenizer's are kept as they are. Raises
    FileNotFoundError for a missing file, ValueError naming tensor and file for a truncated file, a
    missing, unknown, misshapen or non-finite tensor.
    """
    family = hf_config.read_family(folder)
    target = np.dtype(jax.numpy.dtype(dtype or config.param_dtype))
    default = SingleDeviceSharding(jax.devices()[0])
    flat_shardings: dict[str, Any] = (
        traverse_util.flatten_dict(shardings, sep="/") if shardings else {}
    )
    params: dict[str, jax.Array] = {}
    with _open(folder) as tensors:
        _check_names(tensors, family, config, folder)
        for row in family.rows_of(config):
            _check_shapes(tensors, row, config)
            params[row.path] = jax.make_array_from_callback(
                hf_table.param_shape(row, config),
                flat_shardings.get(row.path, default),
                _shard_reader(tensors, row, config, target),
            )
    return traverse_util.unflatten_dict(params, sep="/")


@contextlib.contextmanager
def _open(folder: Path) -> Iterator[dict[str, _Tensor]]:
    """The checkpoint's tensors by name, memory-mapped while the context lasts."""
    if (folder / INDEX).is_file():
        weight_map = hf_config.read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict):
            raise ValueError(f"{folder / INDEX} has no 'weight_map'.")
        files = [folder / name for name in sorted(set(weight_map.values()))]
    else:
        weight_map, files = None, [folder / SINGLE]
    tensors: dict[str, _Tensor] = {}
    with contextlib.ExitStack() as stack:
        for file in files:
            if not file.is_file():
                needed = f"named in {INDEX}" if weight_map else f"nor is there {INDEX}"
                raise FileNotFoundError(f"{file} is missing, {needed}; fetch the model again.")
            try:
                opened = stack.enter_context(safetensors.safe_open(file, framework="np"))
                names = list(opened.keys())
            except safetensors.SafetensorError as error:
                raise ValueError(
                    f"{file} is truncated or not a safetensors file ({error}); fetch it again."
                ) from error
            tensors |= {name: _Tensor(name, file, opened.get_slice(name)) for name in names}
        for name, file in (weight_map or {}).items():
            if name not in tensors:
                raise ValueError(f"Tensor {name} is not in {folder / file}, where {INDEX} puts it.")
        yield tensors


def _check_names(
    tensors: dict[str, _Tensor], family: hf_table.Family, config: ModelConfig, folder: Path
) -> None:
    wanted = {n for row in family.rows_of(config) for n in hf_table.tensor_names(row, config)}
    missing, unknown = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
    if missing:
        raise ValueError(
            f"{folder} has no tensor {missing[0]} ({len(missing)} missing in all), which its "
            f"config.json calls for."
        )
    for name in unknown:
        twin = family.twins.get(name) if config.tie_embeddings else None
        if twin is None:
            raise ValueError(
                f"{tensors[name].file}: tensor {name} has no place in a {family.model_type} model "
                f"with this config.json ({len(unknown)} such tensors)."
            )
        if not np.array_equal(tensors[name].lazy[:], tensors[twin].lazy[:]):
            raise ValueError(
                f"{tensors[name].file}: {name} differs from {twin}, but config.json says "
                "tie_word_embeddings: true."
            )


def _check_shapes(tensors: dict[str, _Tensor], row: hf_table.Row, config: ModelConfig) -> None:
    wanted = hf_table.tensor_shape(row, config)
    for name in hf_table.tensor_names(row, config):
        found, dtype = tuple(tensors[name].lazy.get_shape()), tensors[name].lazy.get_dtype()
        if found != wanted:
            raise ValueError(
                f"{tensors[name].file}: tensor {name} has shape {found}; config.json calls for "
                f"{wanted}."
            )
        if dtype not in ("F32", "BF16", "F16"):
            raise ValueError(
                f"{tensors[name].file}: tensor {name} has dtype {dtype}; supported: F32, BF16, F16."
            )


def _shard_reader(
    tensors: dict[str, _Tensor], row: hf_table.Row, config: ModelConfig, dtype: np.dtype
) -> Callable[[hf_table.Index | None], np.ndarray]:
    """A callback that reads the part of a parameter that one device holds."""
    layers = [tensors[name] for name in hf_table.tensor_names(row, config)]
    shape = hf_table.param_shape(row, config)
    # Devices that hold the same part ask for it one after another: it is read from the file once.
    parts: dict[tuple[tuple[int, int], ...], np.ndarray] = {}

    def part(asked: hf_table.Index | None) -> np.ndarray:
        whole = (slice(None),) * len(shape)
        index = tuple(slice(*s.indices(n)[:2]) for s, n in zip(asked or whole, shape, strict=True))
        key = tuple((s.start, s.stop) for s in index)
        if key in parts:
            return parts[key]
        result = np.empty([stop - start for start, stop in key], dtype)
        if row.stacked:
            for place, tensor in enumerate(layers[index[0]]):
                result[place] = hf_table.read(row, config, tensor.fetch, index[1:])
        else:
            result[...] = hf_table.read(row, config, layers[0].fetch, index)
        parts[key] = result
        return result

    return part
