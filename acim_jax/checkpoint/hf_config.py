"""`config.json` of a Hugging Face folder to a `ModelConfig` and back."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

from acim_jax.checkpoint import hf_table
from acim_jax.model.config import ModelConfig

_DTYPES = ("float32", "bfloat16", "float16")

#: Fields that would change what the model computes, with the values that this decoder computes.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "hidden_act": ("silu",),
    "use_sliding_window": (False,),
    "attention_dropout": (0,),
    "quantization_config": (),
}


def read_json(file: Path) -> dict[str, Any]:
    """The object of a JSON file; FileNotFoundError or ValueError name the file and line."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: a Hugging Face model folder was expected.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold one JSON object, got {type(content).__name__}.")
    return content


def read_family(folder: Path) -> hf_table.Family:
    """The family named by the folder's `model_type`; others are refused by name."""
    file = folder / "config.json"
    model_type = read_json(file).get("model_type")
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
    read_family(folder)
    file = folder / "config.json"
    content = read_json(file)
    _refuse_unsupported(content, file)
    heads = _whole(content, "num_attention_heads", file)
    hidden = _whole(content, "hidden_size", file)
    dtype = content.get("dtype") or content.get("torch_dtype") or "float32"
    if dtype not in _DTYPES:
        raise ValueError(f"{file}: dtype {dtype!r} is not supported; supported: {_DTYPES}.")
    try:
        return ModelConfig(
            vocab_size=_whole(content, "vocab_size", file),
            hidden_size=hidden,
            intermediate_size=_whole(content, "intermediate_size", file),
            num_layers=_whole(content, "num_hidden_layers", file),
            num_heads=heads,
            num_kv_heads=_whole(content, "num_key_value_heads", file, heads),
            head_dim=_whole(content, "head_dim", file, hidden // heads),
            rope_theta=_rope_theta(content, file),
            norm_eps=_real(content, "rms_norm_eps", file, 1e-6),
            tie_embeddings=bool(content.get("tie_word_embeddings", False)),
            qkv_bias=True,
            max_positions=_whole(content, "max_position_embeddings", file, 32768),
            dtype=dtype,
            param_dtype=dtype,
        )
    except ValueError as error:
        raise error if str(file) in str(error) else ValueError(f"{file}: {error}") from error


def config_json(config: ModelConfig, dtype: str, special_ids: dict[str, Any]) -> dict[str, Any]:
    """The `config.json` that transformers loads this model from."""
    family = hf_table.QWEN2
    if not config.qkv_bias:
        raise ValueError(
            f"model_type {family.model_type!r} always has q, k and v biases, but the model to be "
            "written has none (qkv_bias: false); train with qkv_bias: true to export it."
        )
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
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        # transformers 5 reads rope_parameters; servers built on version 4 read rope_theta.
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_embeddings,
        "use_sliding_window": False,
        "attention_dropout": 0.0,
        "use_cache": True,
        "dtype": dtype,
        "torch_dtype": dtype,
        "transformers_version": importlib.metadata.version("transformers"),
        **special_ids,
    }


def _refuse_unsupported(content: dict[str, Any], file: Path) -> None:
    for field, supported in _SUPPORTED.items():
        if content.get(field) is not None and content[field] not in supported:
            raise ValueError(
                f"{file}: {field} = {content[field]!r} is not supported; supported: "
                f"{' or '.join(map(repr, supported)) or 'leaving it out'}."
            )
    layer_types = content.get("layer_types") or []
    for layer, kind in enumerate(layer_types):
        if kind != "full_attention":
            raise ValueError(
                f"{file}: layer_types[{layer}] = {kind!r} is not supported; supported: "
                "'full_attention'."
            )


def _rope_theta(content: dict[str, Any], file: Path) -> float:
    """θ from `rope_parameters` (transformers 5) or `rope_theta`; scaled variants are refused."""
    for field in ("rope_parameters", "rope_scaling"):
        given = content.get(field) or {}
        kind = given.get("rope_type", given.get("type", "default"))
        if kind != "default" or given.get("partial_rotary_factor", 1.0) != 1.0:
            raise ValueError(f"{file}: {field} = {given!r} is not supported; supported: 'default'.")
    rope = content.get("rope_parameters") or {}
    return _real(rope if "rope_theta" in rope else content, "rope_theta", file, 10000.0)


def _whole(content: dict[str, Any], field: str, file: Path, default: int | None = None) -> int:
    value = default if content.get(field) is None else content[field]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{file}: {field} must be a positive whole number, got {value!r}.")
    return value


def _real(content: dict[str, Any], field: str, file: Path, default: float) -> float:
    value = default if content.get(field) is None else content[field]
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ValueError(f"{file}: {field} must be a positive number, got {value!r}.")
    return float(value)
