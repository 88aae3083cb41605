"""The table against hand-written index arithmetic, and as a bijection."""

import dataclasses

import numpy as np
import pytest
from flax import traverse_util

from acim_jax.checkpoint import hf_table
from acim_jax.model import transformer
from acim_jax.model.config import ModelConfig

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


def _row(path: str) -> hf_table.Row:
    (row,) = (row for row in hf_table.QWEN2.rows_of(CONFIG) if row.path == path)
    return row


def test_projection_elements_by_hand():
    """w_q[d, n, h] is q_proj.weight[n·H + h, d]; w_o[n, h, d] is o_proj.weight[d, n·H + h]."""
    D, N, H = CONFIG.hidden_size, CONFIG.num_heads, CONFIG.head_dim
    q_proj = np.arange(N * H * D).reshape(N * H, D)
    o_proj = np.arange(D * N * H).reshape(D, N * H)
    w_q = hf_table.read(
        _row("blocks/attention/w_q"), CONFIG, q_proj.__getitem__, (slice(None),) * 3
    )
    w_o = hf_table.read(
        _row("blocks/attention/w_o"), CONFIG, o_proj.__getitem__, (slice(None),) * 3
    )
    for d in range(D):
        for n in range(N):
            for h in range(H):
                assert w_q[d, n, h] == q_proj[n * H + h, d]
                assert w_o[n, h, d] == o_proj[d, n * H + h]


@pytest.mark.parametrize("row", hf_table.QWEN2.rows_of(CONFIG), ids=lambda row: row.path)
def test_write_inverts_read_and_slices_agree(row: hf_table.Row):
    shape = hf_table.tensor_shape(row, CONFIG)
    tensor = np.random.default_rng(0).normal(size=shape)
    ours_shape = hf_table.param_shape(row, CONFIG)[1 if row.stacked else 0 :]
    whole = hf_table.read(row, CONFIG, tensor.__getitem__, (slice(None),) * len(ours_shape))
    assert whole.shape == ours_shape
    np.testing.assert_array_equal(hf_table.write(row, CONFIG, whole), tensor)
    index = tuple(slice(n // 3, n - n // 4) for n in ours_shape)
    part = hf_table.read(row, CONFIG, tensor.__getitem__, index)
    np.testing.assert_array_equal(part, whole[index])


def test_a_slice_reads_no_more_than_it_needs():
    """Heads 2..3 of 6 need rows 8..15 of the file's 24, in columns 1..2 of 5."""
    asked = []

    def fetch(index: hf_table.Index) -> np.ndarray:
        asked.append(index)
        return np.zeros((24, 5))[index]

    hf_table.read(_row("blocks/attention/w_q"), CONFIG, fetch, (slice(1, 3), slice(2, 4), slice(4)))
    assert asked == [(slice(8, 16), slice(1, 3))]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_rows_are_the_models_parameters(tied: bool, bias: bool):
    """Every parameter of the model has exactly one row, with its shape; names do not repeat."""
    config = dataclasses.replace(CONFIG, tie_embeddings=tied, qkv_bias=bias)
    params = traverse_util.flatten_dict(transformer.abstract_params(config), sep="/")
    rows = hf_table.QWEN2.rows_of(config)
    shapes = {row.path: hf_table.param_shape(row, config) for row in rows}
    assert len(shapes) == len(rows)
    assert shapes == {path: leaf.shape for path, leaf in params.items()}
    names = [name for row in rows for name in hf_table.tensor_names(row, config)]
    assert len(names) == len(set(names))
