"""Low-rank adapters in the form of the PEFT library: `adapter_model.safetensors` and its config.

PEFT stores `lora_A.weight` as [r, inputs] and `lora_B.weight` as [outputs, r], one pair a layer and
projection; our axes are flattened in the order in which the base's weight is. Only what this
package computes is read: α/r scaling, no dropout at inference, no extra modules.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from acim_jax.checkpoint import acim_yaml, hf_table
from acim_jax.files import atomic_folder
from acim_jax.markup import Markup
from acim_jax.model import lora
from acim_jax.model.config import PROJECTIONS, LoraConfig, ModelConfig

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
#: The last part of a target's module name, the same in all families.
_SHORT = {target: f"{target}_proj" for target in PROJECTIONS}

#: Settings of PEFT that would change what the adapted model computes, and the values that are
#: computed here.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_rslora": (False,),
    "use_dora": (False,),
    "use_qalora": (False,),
    "use_bdlora": (None, False),
    "lora_bias": (False,),
    "fan_in_fan_out": (False,),
    "modules_to_save": (None, []),
    "rank_pattern": ({},),
    "alpha_pattern": ({},),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None,),
    "alora_invocation_tokens": (None,),
    "velora_config": (None,),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "arrow_config": (None,),
}


class AdapterFolder(NamedTuple):
    """What an adapter folder says: its settings, and where its base is (a path or a hub name)."""

    settings: LoraConfig
    base: str


class _Module(NamedTuple):
    """A target's module in PEFT's naming, `{l}` for the layer; shape: our weight's, of a layer."""

    name: str
    shape: tuple[int, ...]


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and no model."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def save(
    folder: Path,
    adapters: lora.Params,
    settings: LoraConfig,
    config: ModelConfig,
    *,
    base: str,
    markup: Markup | None = None,
) -> None:
    """Writes an adapter folder that `peft` loads, whole or not at all.

    base: where the model that it belongs to is, a path or a hub name. An earlier adapter at
    `folder` is replaced; ValueError if something else stands there.
    """
    check_target(folder)
    modules = _modules(config)
    tensors = {
        name: np.ascontiguousarray(array)
        for target in settings.targets
        for name, array in _pairs(modules[target].name, target, adapters)
    }
    content = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": 0.0,
        "target_modules": [_SHORT[target] for target in settings.targets],
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "inference_mode": True,
    }
    with atomic_folder.replacing(folder) as made:
        safetensors.numpy.save_file(tensors, made / WEIGHTS, metadata={"format": "pt"})
        (made / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if markup is not None:
            acim_yaml.write_markup(made, markup)


def check_target(folder: Path) -> None:
    """ValueError unless `folder` is new, empty, or an earlier adapter."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder to write the adapter to.")
    if folder.is_dir() and any(folder.iterdir()) and not is_adapter(folder):
        raise ValueError(f"{folder} is not empty and holds no adapter; name another folder.")


def read(folder: Path) -> AdapterFolder:
    """An adapter folder's settings; ValueError or FileNotFoundError name file and field."""
    file = folder / CONFIG
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold one JSON object, got {type(content).__name__}.")
    for field, supported in _SUPPORTED.items():
        if field in content and content[field] not in supported:
            raise ValueError(
                f"{file}: {field} = {content[field]!r} is not supported; supported: "
                f"{' or '.join(map(repr, supported))}."
            )
    rank, alpha, base = (content.get(f) for f in ("r", "lora_alpha", "base_model_name_or_path"))
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise ValueError(f"{file}: r and lora_alpha must be numbers, got {rank!r} and {alpha!r}.")
    if not isinstance(base, str) or not base:
        raise ValueError(f"{file}: base_model_name_or_path must name the model, got {base!r}.")
    names = {_bare(name) for name in _open(folder / WEIGHTS)}
    known = {name: target for target, name in _SHORT.items()}
    if unknown := sorted(names - known.keys()):
        raise ValueError(
            f"{folder / WEIGHTS}: adapters of {unknown[0]} are not supported; supported: "
            f"{', '.join(known)}."
        )
    targets = tuple(target for target in PROJECTIONS if _SHORT[target] in names)
    try:
        return AdapterFolder(LoraConfig(rank, float(alpha), targets), base)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def load(folder: Path, settings: LoraConfig, config: ModelConfig) -> lora.Params:
    """The adapters of a folder, float32 on the host, for a model of this configuration.

    ValueError names the tensor that is missing, left over, misshapen or not finite.
    """
    file = folder / WEIGHTS
    tensors = _open(file)
    lora.check(settings, config)
    adapters: dict[str, dict[str, np.ndarray]] = {}
    modules, rank = _modules(config), settings.rank
    for target in settings.targets:
        group, name, inputs = PROJECTIONS[target]
        module, shape = modules[target]
        size = int(np.prod(shape[:inputs])), int(np.prod(shape[inputs:]))
        for half, wanted in (("A", (rank, size[0])), ("B", (size[1], rank))):
            layers = [
                _take(tensors, _tensor(module, layer, half), wanted, file)
                for layer in range(config.num_layers)
            ]
            ours = (*shape[:inputs], rank) if half == "A" else (rank, *shape[inputs:])
            stacked = np.stack([layer.T.reshape(ours) for layer in layers])
            adapters.setdefault(group, {})[f"{name}_lora_{half.lower()}"] = stacked
    if tensors:
        raise ValueError(f"{file}: tensor {min(tensors)} has no place in this model.")
    return {"blocks": adapters}


def _modules(config: ModelConfig) -> dict[str, _Module]:
    """The modules of the targets that this model has."""
    rows = {row.path: row for row in hf_table.family_of(config).rows_of(config)}
    paths = {t: f"blocks/{p.group}/{p.name}" for t, p in PROJECTIONS.items()}
    return {
        target: _Module(
            rows[path].name.removesuffix(".weight"), hf_table.param_shape(rows[path], config)[1:]
        )
        for target, path in paths.items()
        if path in rows
    }


def _tensor(module: str, layer: int, half: str) -> str:
    return f"{_PREFIX}{module.format(l=layer)}.lora_{half}.weight"


def _pairs(module: str, target: str, adapters: lora.Params) -> Iterator[tuple[str, np.ndarray]]:
    group, name, _ = PROJECTIONS[target]
    own = adapters["blocks"][group]
    a_layers = np.asarray(own[f"{name}_lora_a"], np.float32)
    b_layers = np.asarray(own[f"{name}_lora_b"], np.float32)
    rank = b_layers.shape[1]
    for layer, (a, b) in enumerate(zip(a_layers, b_layers, strict=True)):
        yield _tensor(module, layer, "A"), a.reshape(-1, rank).T
        yield _tensor(module, layer, "B"), b.reshape(rank, -1).T


def _bare(name: str) -> str:
    """`q_proj` of `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`."""
    match = re.search(r"([^.]+)\.lora_[AB]\.weight$", name)
    return match.group(1) if match else name


def _open(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: the weights of the adapter are read from it.")
    try:
        return safetensors.numpy.load_file(file)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is truncated or not a safetensors file ({error}).") from error


def _take(tensors: dict[str, Any], name: str, shape: tuple[int, ...], file: Path) -> np.ndarray:
    if name not in tensors:
        raise ValueError(f"{file} has no tensor {name}, which its other adapters call for.")
    array = tensors.pop(name)
    if array.shape != shape:
        raise ValueError(f"{file}: tensor {name} has shape {array.shape}; the model has {shape}.")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{file}: tensor {name} holds NaN or infinite values.")
    return array
