"""Weights from a Hugging Face folder, through the table in `hf_table.py`.

Streams: one tensor at a time, and of it only the slices that this process's devices hold.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from acim_jax.checkpoint import hf_config, hf_fields, hf_table, safetensors_file
from acim_jax.checkpoint.safetensors_file import Tensor, bits_of
from acim_jax.model.config import Dtype, ModelConfig
from acim_jax.model.transformer import Params

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
#: Weights as Python pickles, which run code when they are loaded.
_PICKLES = ("pytorch_model*.bin", "*.pth", "*.ckpt")


def load(
    folder: Path,
    config: ModelConfig,
    *,
    shardings: Params | None = None,
    dtype: Dtype | None = None,
) -> Params:
    """The parameters of a folder, each straight into its sharding (default: the first device).

    shardings: a tree of the parameters' form. dtype: of the result, default `config.param_dtype`.
    Rows of a vocabulary padded beyond the tokenizer's are kept as they are. Beside the parameters,
    host and device hold one tensor of the file at a time. Raises FileNotFoundError for a missing
    file, ValueError naming tensor and file for a truncated file, a missing, unknown, misshapen or
    non-finite tensor.
    """
    family = hf_config.read_family(folder)
    target = np.dtype(jax.numpy.dtype(dtype or config.param_dtype))
    default = SingleDeviceSharding(jax.local_devices()[0])
    flat_shardings: dict[str, Any] = (
        traverse_util.flatten_dict(shardings, sep="/") if shardings else {}
    )
    tensors = _open(folder)
    copies = _check_names(tensors, family, config, folder)
    weights = family.weights_of(config)
    for weight in weights:
        _check_tensors(tensors, weight, config)
    params: dict[str, jax.Array] = {}
    # Parameters of one tensor are the largest to hold twice, so they come first.
    for weight in sorted(weights, key=lambda weight: len(weight.stacked)):
        sharding = flat_shardings.get(weight.path, default)
        params[weight.path] = _assemble(weight, config, tensors, copies, sharding, target)
    return traverse_util.unflatten_dict(params, sep="/")


def _open(folder: Path) -> dict[str, Tensor]:
    """The checkpoint's tensors by name, memory-mapped."""
    if (folder / SINGLE).is_file():
        return safetensors_file.open_tensors(folder / SINGLE)
    index = folder / INDEX
    if not index.is_file():
        raise FileNotFoundError(_describe_missing(folder))
    weight_map = hf_fields.read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} has no 'weight_map' from tensors to files.")
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(f"{index}: {name} must be in a file of this folder, got {file!r}.")
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"{folder / file} is missing; {INDEX} names it, for {name}. Fetch the model again."
            )
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(weight_map.values())):
        for name, tensor in safetensors_file.open_tensors(folder / file).items():
            if name in tensors:
                raise ValueError(
                    f"Tensor {name} is in {tensors[name].file.name} and again in {folder / file}; "
                    "every tensor must be in one file."
                )
            tensors[name] = tensor
    for name, file in weight_map.items():
        if name not in tensors or tensors[name].file != folder / file:
            raise ValueError(f"Tensor {name} is not in {folder / file}, where {INDEX} puts it.")
    return tensors


def _describe_missing(folder: Path) -> str:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        return (
            f"{folder} holds its weights only as {pickles[0]}, a pickle: loading one runs whatever "
            "code it holds, so it is never read. Convert it, where you trust it and have torch: "
            "python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('IN'"
            ", dtype='auto').save_pretrained('OUT')\", and copy the tokenizer files."
        )
    return f"{folder} has no weights: {SINGLE}, or shards with {INDEX}, were expected."


def _check_names(
    tensors: dict[str, Tensor], family: hf_table.Family, config: ModelConfig, folder: Path
) -> dict[str, Tensor]:
    """Raises ValueError for a tensor too few or too many. Returns the second copies that the
    checkpoint holds of a tensor, by that tensor's name."""
    wanted = {
        n for weight in family.weights_of(config) for n in hf_table.tensor_names(weight, config)
    }
    missing, unknown = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
    if missing:
        raise ValueError(
            f"{folder} has no tensor {missing[0]} ({len(missing)} missing in all), which its "
            f"config.json calls for."
        )
    copies: dict[str, Tensor] = {}
    for name in unknown:
        twin = family.twins.get(name) if config.tie_embeddings else None
        if twin is None:
            raise ValueError(
                f"{tensors[name].file}: tensor {name} has no place in a {family.model_type} model "
                f"with this config.json ({len(unknown)} such tensors)."
            )
        copies[twin] = tensors[name]
    return copies


def _check_tensors(
    tensors: dict[str, Tensor], weight: hf_table.Weight, config: ModelConfig
) -> None:
    """Raises ValueError for a shape other than the configuration's and for dtypes that differ."""
    shape = hf_table.tensor_shape(weight, config)
    first, *_ = names = hf_table.tensor_names(weight, config)
    dtype = tensors[first].values.dtype
    for name in names:
        found = tensors[name].values
        if found.shape != shape:
            raise ValueError(
                f"{tensors[name].file}: tensor {name} has shape {found.shape}; config.json calls "
                f"for {shape}."
            )
        if found.dtype != dtype:
            raise ValueError(
                f"{tensors[name].file}: tensor {name} has dtype {found.dtype}, but {first} has "
                f"{dtype}; all layers must have the same."
            )


def _assemble(
    weight: hf_table.Weight,
    config: ModelConfig,
    tensors: dict[str, Tensor],
    copies: dict[str, Tensor],
    sharding: Sharding,
    dtype: np.dtype,
) -> jax.Array:
    """One parameter; its tensors go to the devices one by one and are written in place there.

    Every device fills its share of the stacking axes from the front: at step `at` each gets the
    tensor that belongs at `at` of its own share.
    """
    shape, stack = hf_table.param_shape(weight, config), hf_table.stack_shape(weight, config)
    names = dict(zip(np.ndindex(*stack), hf_table.tensor_names(weight, config), strict=True))
    shares = sharding.shard_shape(shape)[: len(stack)]
    placed_shape = tuple(n // share for n, share in zip(stack, shares, strict=True))
    placed_shape += shape[len(stack) :]
    source = tensors[names[(0,) * len(stack)]].values.dtype
    empty = jax.jit(jax.lax.empty, static_argnums=(0, 1), out_shardings=sharding)
    param = empty(shape, dtype)
    for at in np.ndindex(*shares):
        parts: dict[Any, np.ndarray] = {}
        placed: list[jax.Array] = []
        for device, asked in sharding.addressable_devices_indices_map(shape).items():
            assert asked is not None
            bounds = [s.indices(n)[:2] for s, n in zip(asked, shape, strict=True)]
            tail = tuple(bounds[len(stack) :])
            name = names[tuple(start + i for (start, _), i in zip(bounds, at, strict=False))]
            # Devices that hold the same part: it is read and checked once.
            if (name, tail) not in parts:
                index = tuple(slice(*pair) for pair in tail)
                part = _read(weight, config, tensors[name], copies.get(name), index, dtype)
                part = part.view(bits_of(source))
                parts[name, tail] = part.reshape((1,) * len(stack) + part.shape)
            placed.append(jax.device_put(parts[name, tail], device))
        step = jax.make_array_from_single_device_arrays(placed_shape, sharding, placed)
        # At most two tensors are in flight.
        param.block_until_ready()
        start = np.array(at, np.int32)
        param = _write(param, step, start, source=source, sharding=sharding)
    return param.block_until_ready()


def _read(
    weight: hf_table.Weight,
    config: ModelConfig,
    tensor: Tensor,
    copy: Tensor | None,
    index: hf_table.Index,
    dtype: np.dtype,
) -> np.ndarray:
    """The part `index` of our array from its tensor in the file: a view, not yet of `dtype`."""

    def fetch(theirs: hf_table.Index) -> np.ndarray:
        if copy is not None and not copy.same_bits(tensor, theirs):
            raise ValueError(
                f"{copy.file}: {copy.name} differs from {tensor.name}, but config.json says "
                "tie_word_embeddings: true."
            )
        return tensor.fetch(theirs, dtype)

    return hf_table.read(weight, config, fetch, index)


@functools.partial(jax.jit, static_argnames=("source", "sharding"), donate_argnames="param")
def _write(
    param: jax.Array, part: jax.Array, at: jax.Array, *, source: np.dtype, sharding: Sharding
) -> jax.Array:
    """`param` with every device's `part` at `at` of its share of the leading axes, in place.

    part: the bits of values of dtype `source`. Moving bits changes no value; XLA on CPU
    would move bfloat16 through float32, at an eighth of the speed.
    """

    def write(param: jax.Array, part: jax.Array, at: jax.Array) -> jax.Array:
        bits = bits_of(param.dtype)
        if source != param.dtype:
            values = jax.lax.bitcast_convert_type(part, source).astype(param.dtype)
            part = jax.lax.bitcast_convert_type(values, bits)
        start = [*at, *(0 for _ in range(param.ndim - len(at)))]
        filled = jax.lax.bitcast_convert_type(param, bits)
        filled = jax.lax.dynamic_update_slice(filled, part, start)
        return jax.lax.bitcast_convert_type(filled, param.dtype)

    if isinstance(sharding, NamedSharding):
        specs = (sharding.spec, sharding.spec, PartitionSpec())
        write = jax.shard_map(write, mesh=sharding.mesh, in_specs=specs, out_specs=sharding.spec)
    return write(param, part, at)
