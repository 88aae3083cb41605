"""Low-rank adapters in the form of the PEFT library: `adapter_model.safetensors` and its config.

PEFT stores `lora_A.weight` as [r, inputs] and `lora_B.weight` as [outputs, r], one pair a layer and
projection; our axes are flattened in the order in which the base's weight is. Only what this
package computes is read: α/r scaling, no dropout at inference, no extra modules.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from acim_jax.checkpoint import acim_yaml, hf_fields, hf_table, safetensors_file
from acim_jax.checkpoint.safetensors_file import Tensor
from acim_jax.files import atomic_folder
from acim_jax.markup import Markup
from acim_jax.model import lora
from acim_jax.model.config import PROJECTIONS, LoraConfig, ModelConfig

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
#: The last part of a target's module name, the same in all families.
_SHORT = {target: f"{target}_proj" for target in PROJECTIONS}

#: Settings of PEFT that would change what the adapted model computes, with the values that this
#: package computes; other values than none are refused where there is no such value.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    **dict.fromkeys(
        ("use_rslora", "use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out"),
        (False,),
    ),
    **dict.fromkeys(("modules_to_save", "layer_replication", "target_parameters"), ([],)),
    **dict.fromkeys(("rank_pattern", "alpha_pattern"), ({},)),
    **dict.fromkeys(
        (
            "trainable_token_indices", "alora_invocation_tokens", "velora_config", "kasa_config",
            "monteclora_config", "arrow_config",
        ),
        (),
    ),
}  # fmt: skip


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
        name: array
        for target in settings.targets
        for name, array in _pairs(modules[target].name, target, adapters)
    }
    shapes = {name: array.shape for name, array in tensors.items()}
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
        safetensors_file.write(made / WEIGHTS, shapes, np.dtype("f4"), list(tensors.values()))
        hf_fields.write_json(made / CONFIG, content)
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
    content = hf_fields.read_json(file)
    hf_fields.refuse_unsupported(content, _SUPPORTED, file)
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
    weights = {weight.path: weight for weight in hf_table.family_of(config).weights_of(config)}
    paths = {t: f"blocks/{p.group}/{p.name}" for t, p in PROJECTIONS.items()}
    return {
        target: _Module(
            weights[path].name.removesuffix(".weight"),
            hf_table.param_shape(weights[path], config)[1:],
        )
        for target, path in paths.items()
        if path in weights
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


def _open(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: the weights of the adapter are read from it.")
    return safetensors_file.open_tensors(file)


def _take(tensors: dict[str, Tensor], name: str, shape: tuple[int, ...], file: Path) -> np.ndarray:
    if name not in tensors:
        raise ValueError(f"{file} has no tensor {name}, which its other adapters call for.")
    tensor = tensors.pop(name)
    found = tensor.values.shape
    if found != shape:
        raise ValueError(f"{file}: tensor {name} has shape {found}; the model has {shape}.")
    return tensor.fetch((slice(None),), np.dtype("f4")).astype(np.float32)
