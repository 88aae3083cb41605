"""Low-rank adapters in the form of the PEFT library: `adapter_model.safetensors` and its config.

PEFT stores `lora_A.weight` as [r, inputs] and `lora_B.weight` as [outputs, r], one pair a layer and
projection; our axes are flattened in the order in which the base's weight is. Only what this
package computes is read: α/r scaling, no dropout at inference, no extra modules.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax import traverse_util

from acim_jax.checkpoint import acim_yaml, hf_fields, hf_import, hf_table, safetensors_file
from acim_jax.checkpoint.hf_fields import Fields
from acim_jax.checkpoint.hf_table import Weight
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
    weights = _weights(settings, config)
    flat = traverse_util.flatten_dict(adapters, sep="/")
    shapes = {name: weight.tensor_shape for weight in weights for name in weight.tensor_names}
    tensors = (
        weight.write(layer)
        for weight in weights
        for layer in np.asarray(flat[weight.path], np.float32)
    )
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
        safetensors_file.write(made / WEIGHTS, shapes, np.dtype("f4"), tensors)
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
    content = Fields(hf_fields.read_json(file), file)
    content.refuse_unsupported(_SUPPORTED)
    rank, alpha = content.whole("r"), content.real("lora_alpha")
    base = content.get("base_model_name_or_path")
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
        return AdapterFolder(LoraConfig(rank, alpha, targets), base)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def load(
    folder: Path, settings: LoraConfig, config: ModelConfig, shardings: lora.Params | None = None
) -> lora.Params:
    """The adapters of a folder, float32, for a model of this configuration.

    shardings: as for `hf_import.load`. ValueError names the tensor that is missing, left over,
    misshapen or not finite.
    """
    lora.check(settings, config)
    file, weights = folder / WEIGHTS, _weights(settings, config)
    whole = f"an adapter of rank {settings.rank} to these targets of this model"
    form = np.dtype("f4")
    return hf_import.assemble(weights, _open(file), shardings, form, where=file, whole=whole)


def _weights(settings: LoraConfig, config: ModelConfig) -> tuple[Weight, ...]:
    """A and B of every target: a base weight `(N H) D -> D N H` has an A `R D -> D R` and a B
    `(N H) R -> R N H`."""
    bases = {weight.path: weight for weight in hf_table.family_of(config).weights_of(config)}
    weights: list[Weight] = []
    for target in settings.targets:
        base = bases["blocks/{0.group}/{0.name}".format(PROJECTIONS[target])]
        outputs, inputs = re.findall(r"\(.*?\)|\w", base.axes.partition(" -> ")[0])
        sizes = {**base.sizes, "R": settings.rank}
        for half, axes in (
            ("A", f"R {inputs} -> {inputs.strip('()')} R"),
            ("B", f"{outputs} R -> R {outputs.strip('()')}"),
        ):
            name = f"{_PREFIX}{base.name.removesuffix('weight')}lora_{half}.weight"
            weights.append(Weight(name, f"{base.path}_lora_{half.lower()}", axes, sizes))
    return tuple(weights)


def _bare(name: str) -> str:
    """`q_proj` of `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`."""
    match = re.search(r"([^.]+)\.lora_[AB]\.weight$", name)
    return match.group(1) if match else name


def _open(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: the weights of the adapter are read from it.")
    return safetensors_file.open_tensors(file)
