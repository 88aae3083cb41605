"""Weights from a Hugging Face folder, through the table in `hf_table.py`.

Streams: one tensor at a time, and of it only the slices that this process's devices hold.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from acim_jax.checkpoint import hf_fields, hf_table, safetensors_file
from acim_jax.checkpoint.hf_table import Weight
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
    family = hf_table.family_of(config)
    tensors = _open(folder)
    for name, twin in hf_table.TWINS.items():
        if config.tie_embeddings and {name, twin} <= tensors.keys():
            tensors[twin] = dataclasses.replace(tensors[twin], copy=tensors.pop(name))
    target = np.dtype(jax.numpy.dtype(dtype or config.param_dtype))
    whole = f"a {family.model_type} model with this config.json"
    weights = family.weights_of(config)
    return assemble(weights, tensors, shardings, target, where=folder, whole=whole)


def assemble(
    weights: Sequence[Weight],
    tensors: Mapping[str, Tensor],
    shardings: Params | None,
    dtype: np.dtype,
    *,
    where: Path,
    whole: str,
) -> Params:
    """The parameters of `weights` from all of a checkpoint's tensors, as `load` makes them.

    where, whole: the checkpoint and what its tensors should make up, for the ValueErrors.
    """
    _check_names(weights, tensors, where, whole)
    for weight in weights:
        _check_tensors(weight, tensors, whole)
    default = SingleDeviceSharding(jax.local_devices()[0])
    flat: dict[str, Any] = traverse_util.flatten_dict(shardings, sep="/") if shardings else {}
    params: dict[str, jax.Array] = {}
    # Parameters of one tensor are the largest to hold twice, so they come first.
    for weight in sorted(weights, key=lambda weight: len(weight.stack_shape)):
        sharding = flat.get(weight.path, default)
        params[weight.path] = _assemble(weight, tensors, sharding, dtype)
    return traverse_util.unflatten_dict(params, sep="/")


def _open(folder: Path) -> dict[str, Tensor]:
    """The checkpoint's tensors by name, memory-mapped; without buffers, which are no weights."""
    read = functools.partial(safetensors_file.open_tensors, ignored=hf_table.is_buffer)
    if (folder / SINGLE).is_file():
        return read(folder / SINGLE)
    index = folder / INDEX
    if not index.is_file():
        raise FileNotFoundError(_describe_missing(folder))
    weight_map = hf_fields.read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} has no 'weight_map' from tensors to files.")
    weight_map = {n: file for n, file in weight_map.items() if not hf_table.is_buffer(n)}
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(f"{index}: {name} must be in a file of this folder, got {file!r}.")
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"{folder / file} is missing; {INDEX} names it, for {name}. Fetch the model again."
            )
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(weight_map.values())):
        for name, tensor in read(folder / file).items():
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
    weights: Sequence[Weight], tensors: Mapping[str, Tensor], where: Path, whole: str
) -> None:
    """ValueError for a tensor too few or too many."""
    wanted = {name for weight in weights for name in weight.tensor_names}
    missing, unknown = sorted(wanted - tensors.keys()), sorted(tensors.keys() - wanted)
    if missing:
        raise ValueError(
            f"{where} has no tensor {missing[0]} ({len(missing)} missing in all); {whole} has it."
        )
    if unknown:
        raise ValueError(
            f"{tensors[unknown[0]].file}: tensor {unknown[0]} has no place in {whole} "
            f"({len(unknown)} such tensors)."
        )


def _check_tensors(weight: Weight, tensors: Mapping[str, Tensor], whole: str) -> None:
    """ValueError for a shape other than the configuration's and for dtypes that differ."""
    first, *_ = names = weight.tensor_names
    dtype = tensors[first].values.dtype
    for name in names:
        found = tensors[name].values
        if found.shape != weight.tensor_shape:
            raise ValueError(
                f"{tensors[name].file}: tensor {name} has shape {found.shape}; {whole} calls for "
                f"{weight.tensor_shape}."
            )
        if found.dtype != dtype:
            raise ValueError(
                f"{tensors[name].file}: tensor {name} has dtype {found.dtype}, but {first} has "
                f"{dtype}; all layers must have the same."
            )


def _assemble(
    weight: Weight, tensors: Mapping[str, Tensor], sharding: Sharding, dtype: np.dtype
) -> jax.Array:
    """One parameter; its tensors go to the devices one by one and are written in place there.

    Every device fills its share of the stacking axes from the front: at step `at` each gets the
    tensor that belongs at `at` of its own share.
    """
    shape, stack = weight.param_shape, weight.stack_shape
    names = dict(zip(np.ndindex(*stack), weight.tensor_names, strict=True))
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
                fetch = functools.partial(tensors[name].fetch, dtype=dtype)
                part = weight.read(fetch, index).view(bits_of(source))
                parts[name, tail] = part.reshape((1,) * len(stack) + part.shape)
            placed.append(jax.device_put(parts[name, tail], device))
        step = jax.make_array_from_single_device_arrays(placed_shape, sharding, placed)
        # At most two tensors are in flight.
        param.block_until_ready()
        start = np.array(at, np.int32)
        param = _write(param, step, start, source=source, sharding=sharding)
    return param.block_until_ready()


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
