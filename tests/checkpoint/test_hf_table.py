"""The table against hand-written index arithmetic, and as a bijection."""

import dataclasses

import numpy as np
import pytest
from flax import traverse_util

from acim_jax.checkpoint import hf_table
from acim_jax.model import transformer
from acim_jax.model.config import Experts, ModelConfig


def weights_of(config: ModelConfig) -> tuple[hf_table.Weight, ...]:
    return hf_table.family_of(config).weights_of(config)


CONFIG = ModelConfig(
    vocab_size=11,
    hidden_size=5,
    intermediate_size=7,
    num_layers=2,
    num_heads=6,
    num_kv_heads=2,
    head_dim=4,
    tie_embeddings=False,
)
EXPERTS = Experts(count=3, per_token=2, width=9, normalize=True)
CONFIGS = {
    "qwen2": CONFIG,
    "qwen3": dataclasses.replace(CONFIG, family="qwen3", qkv_bias=False, qk_norm=True),
    "qwen3_moe": dataclasses.replace(
        CONFIG, family="qwen3_moe", qkv_bias=False, qk_norm=True, experts=EXPERTS
    ),
    "llama": dataclasses.replace(CONFIG, family="llama", qkv_bias=False),
    "mistral": dataclasses.replace(CONFIG, family="mistral", qkv_bias=False),
}
WEIGHTS = [(name, weight) for name, config in CONFIGS.items() for weight in weights_of(config)]


def _weight(path: str) -> hf_table.Weight:
    (weight,) = (weight for weight in weights_of(CONFIG) if weight.path == path)
    return weight


def test_projection_elements_by_hand():
    """w_q[d, n, h] is q_proj.weight[n·H + h, d]; w_o[n, h, d] is o_proj.weight[d, n·H + h]."""
    D, N, H = CONFIG.hidden_size, CONFIG.num_heads, CONFIG.head_dim
    q_proj = np.arange(N * H * D).reshape(N * H, D)
    o_proj = np.arange(D * N * H).reshape(D, N * H)
    w_q = _weight("blocks/attention/w_q").read(q_proj.__getitem__, (slice(None),) * 3)
    w_o = _weight("blocks/attention/w_o").read(o_proj.__getitem__, (slice(None),) * 3)
    for d in range(D):
        for n in range(N):
            for h in range(H):
                assert w_q[d, n, h] == q_proj[n * H + h, d]
                assert w_o[n, h, d] == o_proj[d, n * H + h]


@pytest.mark.parametrize(
    "weight", [w for _, w in WEIGHTS], ids=[f"{n}-{w.path}" for n, w in WEIGHTS]
)
def test_write_inverts_read_and_slices_agree(weight: hf_table.Weight):
    tensor = np.random.default_rng(0).normal(size=weight.tensor_shape)
    ours_shape = weight.param_shape[len(weight.stack_shape) :]
    whole = weight.read(tensor.__getitem__, (slice(None),) * len(ours_shape))
    assert whole.shape == ours_shape
    np.testing.assert_array_equal(weight.write(whole), tensor)
    index = tuple(slice(n // 3, n - n // 4) for n in ours_shape)
    part = weight.read(tensor.__getitem__, index)
    np.testing.assert_array_equal(part, whole[index])


def test_a_slice_reads_no_more_than_it_needs():
    """Heads 2..3 of 6 need rows 8..15 of the file's 24, in columns 1..2 of 5."""
    asked = []

    def fetch(index: hf_table.Index) -> np.ndarray:
        asked.append(index)
        return np.zeros((24, 5))[index]

    index = (slice(1, 3), slice(2, 4), slice(4))
    _weight("blocks/attention/w_q").read(fetch, index)
    assert asked == [(slice(8, 16), slice(1, 3))]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", hf_table.FAMILIES)
def test_rows_are_the_models_parameters(family: str, tied: bool):
    """Every parameter of the model has exactly one weight, with its shape; names do not repeat."""
    config = dataclasses.replace(CONFIGS[family], tie_embeddings=tied)
    params = traverse_util.flatten_dict(transformer.abstract_params(config), sep="/")
    weights = weights_of(config)
    shapes = {weight.path: weight.param_shape for weight in weights}
    assert len(shapes) == len(weights)
    assert shapes == {path: leaf.shape for path, leaf in params.items()}
    names = [name for weight in weights for name in weight.tensor_names]
    assert len(names) == len(set(names))


def test_tensors_of_experts_are_in_the_order_of_the_stacking_axes():
    config = CONFIGS["qwen3_moe"]
    (weight,) = (weight for weight in weights_of(config) if weight.path == "blocks/moe/w_down")
    assert weight.param_shape == (2, 3, 9, 5)
    assert weight.tensor_names == (
        "model.layers.0.mlp.experts.0.down_proj.weight",
        "model.layers.0.mlp.experts.1.down_proj.weight",
        "model.layers.0.mlp.experts.2.down_proj.weight",
        "model.layers.1.mlp.experts.0.down_proj.weight",
        "model.layers.1.mlp.experts.1.down_proj.weight",
        "model.layers.1.mlp.experts.2.down_proj.weight",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "mamba"}, "family 'mamba' is not one of llama, mistral, qwen2, qwen3"),
        ({"qkv_bias": False}, "family 'qwen2' always has qkv_bias: True, but .* has False"),
        ({"family": "llama"}, "family 'llama' always has qkv_bias: False, but .* has True"),
        ({"experts": EXPERTS}, "family 'qwen2' always has experts: False, but .* has True"),
    ],
)
def test_a_model_that_is_none_of_its_family_is_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        hf_table.family_of(dataclasses.replace(CONFIG, **change))
