"""`config.json` of a Hugging Face folder to a `ModelConfig` and back."""

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

from acim_jax.checkpoint import hf_fields, hf_rope, hf_table
from acim_jax.model import rope_scaling
from acim_jax.model.config import Experts, ModelConfig

_DTYPES = ("float32", "bfloat16", "float16")

#: Fields that would change what a model computes, with the values that this decoder computes.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "hidden_act": ("silu",),
    "attention_dropout": (0,),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "decoder_sparse_step": (1,),
    "mlp_only_layers": ([],),
    "quantization_config": (),
}


@dataclasses.dataclass(frozen=True)
class _LeftOut:
    """What transformers takes for fields that a family's `config.json` leaves out.

    kv_heads, head_dim: None for as many as heads, and for hidden_size / heads.
    """

    max_positions: int
    kv_heads: int | None
    head_dim: int | None = None


_LEFT_OUT = {
    "llama": _LeftOut(max_positions=2048, kv_heads=None),
    "mistral": _LeftOut(max_positions=131072, kv_heads=8),
    "qwen2": _LeftOut(max_positions=32768, kv_heads=32),
    "qwen3": _LeftOut(max_positions=32768, kv_heads=32, head_dim=128),
    "qwen3_moe": _LeftOut(max_positions=32768, kv_heads=4),
}
_WINDOW_LEFT_OUT = 4096
_FULL_LAYERS_LEFT_OUT = 28


def read_family(folder: Path) -> hf_table.Family:
    """The family named by the folder's `model_type`; others are refused by name."""
    file = folder / "config.json"
    model_type = hf_fields.read_json(file).get("model_type")
    if model_type not in hf_table.FAMILIES:
        raise ValueError(
            f"{file}: model_type {model_type!r} is not supported; supported: "
            f"{', '.join(sorted(hf_table.FAMILIES))}."
        )
    return hf_table.FAMILIES[model_type]


def read_config(folder: Path) -> ModelConfig:
    """The decoder that a folder's `config.json` describes.

    dtype and param_dtype are the file's own dtype (float32 where it states none). ValueError names
    file and field for what is missing, mistyped or not computed by this decoder.
    """
    family = read_family(folder)
    file = folder / "config.json"
    content = hf_fields.read_json(file)
    hf_fields.refuse_unsupported(content, _SUPPORTED, file)
    left_out = _LEFT_OUT[family.model_type]
    heads = hf_fields.whole(content, "num_attention_heads", file)
    hidden = hf_fields.whole(content, "hidden_size", file)
    kv_heads = heads if "num_key_value_heads" in content else left_out.kv_heads or heads
    head_dim = hidden // heads if "head_dim" in content else left_out.head_dim or hidden // heads
    positions = hf_fields.whole(content, "max_position_embeddings", file, left_out.max_positions)
    theta, scaling = hf_rope.read(content, positions, file)
    window, full_layers = _window(content, family.model_type, file)
    dtype = content.get("dtype") or content.get("torch_dtype") or "float32"
    if dtype not in _DTYPES:
        raise ValueError(f"{file}: dtype {dtype!r} is not supported; supported: {_DTYPES}.")
    try:
        return ModelConfig(
            vocab_size=hf_fields.whole(content, "vocab_size", file),
            hidden_size=hidden,
            intermediate_size=hf_fields.whole(content, "intermediate_size", file),
            num_layers=hf_fields.whole(content, "num_hidden_layers", file),
            num_heads=heads,
            num_kv_heads=hf_fields.whole(content, "num_key_value_heads", file, kv_heads),
            head_dim=hf_fields.whole(content, "head_dim", file, head_dim),
            rope_theta=theta,
            rope_scaling=scaling,
            norm_eps=hf_fields.real(content, "rms_norm_eps", file, 1e-6),
            tie_embeddings=hf_fields.flag(content, "tie_word_embeddings", file),
            qkv_bias=family.qkv_bias,
            qk_norm=family.qk_norm,
            experts=_experts(content, file) if family.experts else None,
            sliding_window=window,
            full_attention_layers=full_layers,
            max_positions=_longest_row(positions, scaling),
            family=family.model_type,
            dtype=dtype,
            param_dtype=dtype,
        )
    except ValueError as error:
        raise error if str(file) in str(error) else ValueError(f"{file}: {error}") from error


def config_json(config: ModelConfig, dtype: str, special_ids: dict[str, Any]) -> dict[str, Any]:
    """The `config.json` that transformers loads this model from."""
    family = hf_table.family_of(config)
    scaling = config.rope_scaling
    dynamic = isinstance(scaling, rope_scaling.Dynamic)
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": scaling.original_positions if dynamic else config.max_positions,
        "rms_norm_eps": config.norm_eps,
        **hf_rope.write(config.rope_theta, scaling),
        "tie_word_embeddings": config.tie_embeddings,
        **_own_fields(config),
        "attention_dropout": 0.0,
        "use_cache": True,
        "dtype": dtype,
        "torch_dtype": dtype,
        "transformers_version": importlib.metadata.version("transformers"),
        **special_ids,
    }


def _own_fields(config: ModelConfig) -> dict[str, Any]:
    """Fields that not all families have."""
    window, full_layers = config.sliding_window, config.full_attention_layers
    unwritable = f"A model of family {config.family!r} cannot have"
    if window is not None and config.family == "llama":
        raise ValueError(f"{unwritable} a sliding window, but sliding_window is {window}.")
    if window is not None and full_layers and config.family not in ("qwen2", "qwen3"):
        raise ValueError(
            f"{unwritable} both sliding and full attention, but full_attention_layers is "
            f"{full_layers}."
        )
    if config.family == "llama":
        return {"attention_bias": False, "mlp_bias": False}
    if config.family == "mistral":
        return {"sliding_window": window}
    fields: dict[str, Any] = {"use_sliding_window": window is not None}
    if window is not None:
        fields["sliding_window"] = window
    if window is not None and config.experts is None:
        fields["max_window_layers"] = full_layers
    if config.qk_norm:
        fields["attention_bias"] = False
    if config.experts is not None:
        fields |= {
            "num_experts": config.experts.count,
            "num_experts_per_tok": config.experts.per_token,
            "moe_intermediate_size": config.experts.width,
            "norm_topk_prob": config.experts.normalize,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
    return fields


def _longest_row(positions: int, scaling: rope_scaling.Scaling | None) -> int:
    """Dynamic RoPE is for rows that exceed the positions it states, by up to its factor."""
    return (
        int(positions * scaling.factor) if isinstance(scaling, rope_scaling.Dynamic) else positions
    )


def _window(content: dict[str, Any], model_type: str, file: Path) -> tuple[int | None, int]:
    """The sliding window (None: no layer has one), and how many layers at the front see all."""
    stated = "sliding_window" not in content or content["sliding_window"] is not None
    match model_type:
        case "llama":
            windowed = False
        case "mistral":
            windowed = stated
        case _:
            windowed = stated and hf_fields.flag(content, "use_sliding_window", file)
    layers = hf_fields.whole(content, "num_hidden_layers", file)
    kinds = content.get("layer_types")
    full_layers = 0 if windowed else layers
    if windowed and model_type in ("qwen2", "qwen3"):
        # 0 is a number here: every layer slides.
        default = 0 if content.get("max_window_layers") == 0 else _FULL_LAYERS_LEFT_OUT
        full_layers = default and hf_fields.whole(content, "max_window_layers", file, default)
        full_layers = kinds.count("full_attention") if kinds else full_layers
    expected = ["full_attention"] * full_layers + ["sliding_attention"] * (layers - full_layers)
    if kinds and kinds != expected:
        raise ValueError(
            f"{file}: layer_types = {kinds!r} is not supported; supported, with this file's other "
            f"fields: {expected!r}."
        )
    window = hf_fields.whole(content, "sliding_window", file, _WINDOW_LEFT_OUT)
    return (window, full_layers) if windowed else (None, 0)


def _experts(content: dict[str, Any], file: Path) -> Experts:
    # transformers 5 writes num_local_experts.
    count = "num_local_experts" if content.get("num_local_experts") else "num_experts"
    return Experts(
        count=hf_fields.whole(content, count, file),
        per_token=hf_fields.whole(content, "num_experts_per_tok", file),
        width=hf_fields.whole(content, "moe_intermediate_size", file),
        normalize=hf_fields.flag(content, "norm_topk_prob", file),
    )
