"""`config.json` of a Hugging Face folder to a `ModelConfig` and back."""

import importlib.metadata
from pathlib import Path
from typing import Any, get_args

from acim_jax.checkpoint import hf_fields, hf_rope, hf_table
from acim_jax.checkpoint.hf_fields import Fields
from acim_jax.model import rope_scaling
from acim_jax.model.config import Dtype, Experts, ModelConfig

#: Fields that would change what a model computes, with the values that this decoder computes.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "hidden_act": ("silu",),
    "attention_dropout": (0,),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "decoder_sparse_step": (1,),
    "mlp_only_layers": ([],),
    "quantization_config": (),
    "partial_rotary_factor": (1,),
}
#: Whole numbers that every file states: our field -> the file's.
_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
}
#: What transformers takes where these are left out; `hf_table.Family` has what families differ in.
_WINDOW_LEFT_OUT = 4096
_FULL_LAYERS_LEFT_OUT = 28


def _family(content: Fields) -> hf_table.Family:
    """The family named by the file's `model_type`; others are refused by name."""
    model_type = content.get("model_type")
    if not isinstance(model_type, str) or model_type not in hf_table.FAMILIES:
        raise ValueError(
            f"{content.file}: model_type {model_type!r} is not supported; supported: "
            f"{', '.join(sorted(hf_table.FAMILIES))}."
        )
    return hf_table.FAMILIES[model_type]


def read_config(folder: Path) -> ModelConfig:
    """The decoder that a folder's `config.json` describes.

    dtype and param_dtype are the file's own dtype (float32 where it states none). ValueError names
    file and field for what is missing, mistyped or not computed by this decoder.
    """
    file = folder / "config.json"
    content = Fields(hf_fields.read_json(file), file)
    family = _family(content)
    content.refuse_unsupported(_SUPPORTED)
    sizes: dict[str, Any] = {ours: content.whole(theirs) for ours, theirs in _SIZES.items()}
    heads, even = sizes["num_heads"], sizes["hidden_size"] // sizes["num_heads"]
    kv_heads = heads if "num_key_value_heads" in content.content else family.kv_heads or heads
    head_dim = even if "head_dim" in content.content else family.head_dim or even
    positions = content.whole("max_position_embeddings", family.max_positions)
    theta, scaling = hf_rope.read(content, positions)
    window, full_layers = _window(content, family.model_type, sizes["num_layers"])
    # Dynamic RoPE is for rows that exceed the positions it states, by up to its factor.
    stretch = scaling.factor if isinstance(scaling, rope_scaling.Dynamic) else 1
    dtype = content.get("dtype") or content.get("torch_dtype") or "float32"
    if dtype not in get_args(Dtype):
        raise ValueError(f"{file}: dtype {dtype!r} is not supported; supported: {get_args(Dtype)}.")
    try:
        return ModelConfig(
            **sizes,
            num_kv_heads=content.whole("num_key_value_heads", kv_heads),
            head_dim=content.whole("head_dim", head_dim),
            rope_theta=theta,
            rope_scaling=scaling,
            norm_eps=content.real("rms_norm_eps", 1e-6),
            tie_embeddings=content.flag("tie_word_embeddings"),
            qkv_bias=family.qkv_bias,
            qk_norm=family.qk_norm,
            experts=_experts(content) if family.experts else None,
            sliding_window=window,
            full_attention_layers=full_layers,
            max_positions=int(positions * stretch),
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
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
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


def _window(content: Fields, model_type: str, layers: int) -> tuple[int | None, int]:
    """The sliding window (None: no layer has one), and how many layers at the front see all."""
    window = content.whole("sliding_window", _WINDOW_LEFT_OUT)
    stated = content.content.get("sliding_window", window) is not None
    windowed = stated and (
        model_type == "mistral" or (model_type != "llama" and content.flag("use_sliding_window"))
    )
    kinds = content.get("layer_types")
    if kinds is not None and not isinstance(kinds, list):
        raise ValueError(f"{content.file}: layer_types must be a list, got {kinds!r}.")
    full_layers = 0 if windowed else layers
    if windowed and model_type in ("qwen2", "qwen3"):
        # 0 is a number here: every layer slides.
        if content.get("max_window_layers") != 0:
            full_layers = content.whole("max_window_layers", _FULL_LAYERS_LEFT_OUT)
        full_layers = kinds.count("full_attention") if kinds else full_layers
    expected = ["full_attention"] * full_layers + ["sliding_attention"] * (layers - full_layers)
    if kinds and kinds != expected:
        raise ValueError(
            f"{content.file}: layer_types = {kinds!r} is not supported; supported, with this "
            f"file's other fields: {expected!r}."
        )
    return (window, full_layers) if windowed else (None, 0)


def _experts(content: Fields) -> Experts:
    # transformers 5 writes num_local_experts.
    count = "num_local_experts" if content.get("num_local_experts") else "num_experts"
    return Experts(
        count=content.whole(count),
        per_token=content.whole("num_experts_per_tok"),
        width=content.whole("moe_intermediate_size"),
        normalize=content.flag("norm_topk_prob"),
    )
