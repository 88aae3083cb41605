"""`config.json` of every family: what is read, what is refused by name, what is written back."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from acim_jax.checkpoint import hf_config
from acim_jax.model import rope_scaling
from acim_jax.model.config import Experts, ModelConfig

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 36,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
MOE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 10}
SLIDING = {"use_sliding_window": True, "sliding_window": 8}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def write(folder: Path, model_type: str, **fields: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**SIZES, "model_type": model_type, **fields}))
    return folder


def read(folder: Path, model_type: str, **fields: Any) -> ModelConfig:
    return hf_config.read_config(write(folder, model_type, **fields))


COMMON = ModelConfig(
    vocab_size=50,
    hidden_size=24,
    intermediate_size=36,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    norm_eps=1e-5,
    max_positions=64,
    qkv_bias=False,
    family="llama",
)


@pytest.mark.parametrize(
    ("model_type", "fields", "changes"),
    [
        ("llama", {}, {}),
        ("llama", {"head_dim": 10, "rope_theta": 5e5}, {"head_dim": 10, "rope_theta": 5e5}),
        ("llama", {"num_key_value_heads": None}, {"num_kv_heads": 4}),
        ("llama", {"torch_dtype": "float16"}, {"dtype": "float16", "param_dtype": "float16"}),
        ("mistral", {"sliding_window": 8}, {"sliding_window": 8}),
        ("mistral", {"sliding_window": None}, {}),
        ("mistral", {}, {"sliding_window": 4096}),
        ("qwen2", {}, {"qkv_bias": True}),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 8}, {"qkv_bias": True}),
        (
            "qwen2",
            SLIDING | {"max_window_layers": 2},
            {"qkv_bias": True, "sliding_window": 8, "full_attention_layers": 2},
        ),
        (
            "qwen3",
            SLIDING | {"layer_types": ["full_attention", *["sliding_attention"] * 2]},
            {"qk_norm": True, "head_dim": 128, "sliding_window": 8, "full_attention_layers": 1},
        ),
        (
            "qwen3",
            SLIDING | {"max_window_layers": 0, "head_dim": 6},
            {"qk_norm": True, "sliding_window": 8},
        ),
        (
            "qwen3_moe",
            MOE | SLIDING | {"norm_topk_prob": True},
            {"qk_norm": True, "experts": Experts(6, 2, 10, True), "sliding_window": 8},
        ),
        (
            "qwen3_moe",
            {"num_local_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 10},
            {"qk_norm": True, "experts": Experts(6, 2, 10, False)},
        ),
    ],
)
def test_families(tmp_path: Path, model_type: str, fields: dict, changes: dict):
    expected = dataclasses.replace(COMMON, family=model_type, **changes)
    assert read(tmp_path, model_type, **fields) == expected


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "qwen3", "qwen3_moe"])
def test_left_out_fields_are_what_transformers_takes(tmp_path: Path, model_type: str):
    from transformers import AutoConfig

    folder = write(tmp_path, model_type, hidden_size=128, num_attention_heads=32, **MOE)
    content = json.loads((folder / "config.json").read_text())
    for name in ("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta",
                 "tie_word_embeddings"):  # fmt: skip
        content.pop(name, None)
    (folder / "config.json").write_text(json.dumps(content))
    ours, theirs = hf_config.read_config(folder), AutoConfig.from_pretrained(folder)
    assert ours.num_kv_heads == theirs.num_key_value_heads
    assert ours.max_positions == theirs.max_position_embeddings
    assert ours.head_dim == (getattr(theirs, "head_dim", None) or 128 // 32)
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert ours.norm_eps == theirs.rms_norm_eps
    assert ours.tie_embeddings == theirs.tie_word_embeddings
    assert ours.sliding_window == getattr(theirs, "sliding_window", None)


@pytest.mark.parametrize(
    ("fields", "theta", "scaling"),
    [
        ({}, 10000.0, None),
        ({"rope_theta": 77.0, "rope_scaling": None}, 77.0, None),
        ({"rope_parameters": {"rope_theta": 77.0}, "rope_theta": 5.0}, 77.0, None),
        ({"rope_scaling": {"type": "linear", "factor": 4}}, 10000.0, rope_scaling.Linear(4.0)),
        (
            {"rope_theta": 77.0, "rope_scaling": {"rope_type": "dynamic", "factor": 3.0}},
            77.0,
            rope_scaling.Dynamic(3.0, 64),
        ),
        (
            {"rope_parameters": {"rope_theta": 7.0, **LLAMA3}},
            7.0,
            rope_scaling.Llama3(8.0, 1.0, 4.0, 16),
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0},
             "original_max_position_embeddings": 8},
            10000.0,
            rope_scaling.Yarn(4.0, 8),
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": None, "beta_fast": 20,
                                 "original_max_position_embeddings": 16, "mscale": 0.7,
                                 "mscale_all_dim": 0.5, "truncate": False}},
            10000.0,
            rope_scaling.Yarn(
                4.0, 16, beta_fast=20.0, mscale=0.7, mscale_all_dim=0.5, truncate=False
            ),
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "attention_factor": 1.5}},
            10000.0,
            rope_scaling.Yarn(2.0, 64, attention_factor=1.5),
        ),
    ],
)  # fmt: skip
def test_both_spellings_of_rope(tmp_path: Path, fields: dict, theta: float, scaling: Any):
    config = read(tmp_path, "llama", **fields)
    assert (config.rope_theta, config.rope_scaling) == (theta, scaling)
    assert config.max_positions == (192 if isinstance(scaling, rope_scaling.Dynamic) else 64)


def test_attention_scale_of_yarn():
    """0.1 ln(s) + 1; with both mscales the ratio of 0.1 m ln(s) + 1; a stated factor as it is."""
    assert rope_scaling.Yarn(4.0, 8).attention_scale == pytest.approx(1.1386294361119891)
    both = rope_scaling.Yarn(4.0, 8, mscale=0.7, mscale_all_dim=0.5)
    assert both.attention_scale == pytest.approx(1.0970406052783924 / 1.0693147180559945)
    assert rope_scaling.Yarn(4.0, 8, attention_factor=1.5, mscale=0.7).attention_scale == 1.5
    assert rope_scaling.Yarn(1.0, 8).attention_scale == 1.0


@pytest.mark.parametrize(
    ("model_type", "fields", "message"),
    [
        ("mamba", {}, "model_type 'mamba' is not supported; supported: llama, mistral, qwen2, "),
        ("llama", {"hidden_act": "gelu"}, "hidden_act = 'gelu' is not supported; .*: 'silu'"),
        ("llama", {"attention_bias": True}, "attention_bias = True .* supported: False"),
        ("llama", {"mlp_bias": True}, "mlp_bias = True is not supported; supported: False"),
        ("llama", {"layer_types": ["sliding_attention"] * 3}, "layer_types = .* supported, with"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "layer_types = .* supported, with"),
        (
            "qwen2",
            SLIDING | {"layer_types": ["sliding_attention", *["full_attention"] * 2]},
            "layer_types = .* supported, with this file's other fields: .*full.*full.*sliding",
        ),
        ("qwen3_moe", MOE | {"decoder_sparse_step": 2}, "decoder_sparse_step = 2 is not supp"),
        ("qwen3_moe", MOE | {"mlp_only_layers": [0]}, r"mlp_only_layers = \[0\] is not supported"),
        ("qwen3_moe", MOE | {"num_experts_per_tok": 7}, r"per_token \(7\) must be between 1 and"),
        ("qwen3_moe", {}, "num_experts must be a positive whole number, got None"),
        (
            "llama",
            {"rope_scaling": {"type": "longrope"}},
            "rope_scaling of type 'longrope' .* supported: default, linear, dynamic, llama3, yarn",
        ),
        ("llama", {"rope_scaling": {"type": "linear"}}, "factor must be a positive number, got No"),
        ("llama", {"rope_parameters": LLAMA3 | {"high_freq_factor": 1}}, "high_freq_factor .*exc"),
        ("llama", {"rope_parameters": {"full_attention": {}}}, "supported: one RoPE for all"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5 is not supported"),
        (
            "llama",
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "head_dim": 2},
            "head_dim must be at least 4 for dynamic RoPE",
        ),
        ("qwen2", {"quantization_config": {"bits": 4}}, "quantization_config = .*leaving it out"),
        ("qwen2", {"hidden_size": None}, "hidden_size must be a positive whole number, got None"),
        ("qwen2", {"num_hidden_layers": 10**30}, "num_hidden_layers must be below 2\\^31, got 10"),
        (["qwen2"], {}, r"model_type \['qwen2'\] is not supported; supported: llama, mistral"),
        ("qwen2", SLIDING | {"layer_types": {"a": 1}}, "layer_types must be a list, got {'a': 1}"),
        ("qwen3", {"layer_types": "full_attention"}, "layer_types must be a list, got 'full_att"),
        ("qwen2", {"num_hidden_layers": "3"}, "num_hidden_layers must be a .*number, got '3'"),
        ("qwen2", {"num_key_value_heads": 3}, r"config\.json: num_heads \(4\) must be a multiple"),
        ("qwen2", {"tie_word_embeddings": "no"}, "tie_word_embeddings must be true or false"),
        ("qwen2", {"dtype": "float8"}, "dtype 'float8' is not supported"),
    ],
)  # fmt: skip
def test_what_is_not_computed_is_refused_by_name(
    tmp_path: Path, model_type: Any, fields: dict, message: str
):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, model_type, **fields)


@pytest.mark.parametrize(
    ("model_type", "fields"),
    [
        ("llama", {"rope_parameters": {"rope_theta": 7.0, **LLAMA3}, "head_dim": 10}),
        ("mistral", {"sliding_window": 8, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
        ("mistral", {"sliding_window": None, "rope_theta": 7.0}),
        ("qwen2", SLIDING | {"max_window_layers": 2, "tie_word_embeddings": False}),
        ("qwen3", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.5}, "head_dim": 8}),
        (
            "qwen3_moe",
            MOE
            | SLIDING
            | {"norm_topk_prob": True, "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
               "original_max_position_embeddings": 16, "beta_slow": 2.0, "mscale": 0.7,
               "mscale_all_dim": 0.5, "truncate": False}},
        ),
    ],
)  # fmt: skip
def test_what_is_written_is_what_transformers_read(tmp_path: Path, model_type: str, fields: dict):
    """transformers' own reader finds in our config.json all that it found in the source."""
    from transformers import AutoConfig

    config = read(tmp_path, model_type, **({"head_dim": 6} | fields))
    theirs = AutoConfig.from_pretrained(tmp_path).to_dict()
    written = hf_config.config_json(config, "float32", {"eos_token_id": 3})
    assert written["eos_token_id"] == 3
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert hf_config.read_config(tmp_path) == config
    ours = AutoConfig.from_pretrained(tmp_path).to_dict()
    unlike = {name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)}
    # What only names things, and what version 4 reads.
    assert unlike <= {"architectures", "dtype", "torch_dtype", "eos_token_id", "rope_theta",
                      "_name_or_path", "transformers_version"}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sliding_window": 8}, "family 'llama' cannot have a sliding window, but .* is 8"),
        (
            {"family": "mistral", "sliding_window": 8, "full_attention_layers": 1},
            "family 'mistral' cannot have both sliding and full attention",
        ),
    ],
)
def test_what_a_family_cannot_state_is_not_written(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        hf_config.config_json(dataclasses.replace(COMMON, **changes), "float32", {})
