"""The model against transformers, on the tiny random checkpoints of scripts/make_golden.py.

Tolerances: 1e-5 per module, 1e-4 for logits and log-probs of the whole model, in float32.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.checkpoint import hf
from acim_jax.model import layers, rope, scoring, transformer

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = ("qwen2_untied", "qwen2_tied_bfloat16")


@dataclasses.dataclass(frozen=True)
class Case:
    config: transformer.ModelConfig
    params: transformer.Params
    expected: dict[str, np.ndarray]

    @property
    def is_token(self) -> np.ndarray:
        """[B, T]: the columns that rows of different length have."""
        columns = np.arange(self.expected["token_ids"].shape[1])
        return columns < self.expected["lengths"][:, None]

    @property
    def positions(self) -> jax.Array:
        shape = self.expected["token_ids"].shape
        return jnp.broadcast_to(jnp.arange(shape[1]), shape)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    folder = GOLDEN / request.param
    config = dataclasses.replace(hf.read_config(folder), dtype="float32", param_dtype="float32")
    with np.load(folder / "expected.npz") as arrays:
        expected = dict(arrays)
    return Case(config, hf.load(folder, config), expected)


def test_each_module(case: Case):
    """Every module is given transformers' own input, so errors do not add up over layers."""
    config, is_token = case.config, case.is_token
    expected = jax.tree.map(jnp.asarray, case.expected)
    angles = rope.angles(case.positions, config.head_dim, config.rope_theta)
    norm = layers.RMSNorm(config.norm_eps, "float32", "float32")
    x = expected["embedded"]
    for layer in range(config.num_layers):
        block = jax.tree.map(lambda stack, layer=layer: stack[layer], case.params["blocks"])
        attended, _ = layers.Attention(config).apply(
            {"params": block["attention"]},
            expected[f"attention_norm_{layer}"],
            angles,
            case.positions,
            None,
        )
        residual = x + expected[f"attention_{layer}"]
        ours = {
            "attention_norm": norm.apply({"params": block["attention_norm"]}, x),
            "attention": attended,
            "mlp_norm": norm.apply({"params": block["mlp_norm"]}, residual),
            "mlp": layers.MLP(config).apply(
                {"params": block["mlp"]}, expected[f"mlp_norm_{layer}"]
            ),
            "block": layers.Block(config).apply({"params": block}, x, angles, case.positions, None)[
                0
            ],
        }
        for name, value in ours.items():
            np.testing.assert_allclose(
                np.asarray(value)[is_token],
                case.expected[f"{name}_{layer}"][is_token],
                rtol=1e-5,
                atol=1e-5,
                err_msg=f"{name} of layer {layer}",
            )
        x = expected[f"block_{layer}"]
    final = norm.apply({"params": case.params["final_norm"]}, x)
    np.testing.assert_allclose(
        np.asarray(final)[is_token], case.expected["final"][is_token], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("unroll", [False, True])
def test_logits_and_logprobs(case: Case, unroll: bool):
    config = dataclasses.replace(case.config, unroll=unroll)
    token_ids = jnp.asarray(case.expected["token_ids"])
    hidden, _ = transformer.forward(case.params, config, token_ids, case.positions)
    logits = np.asarray(transformer.unembed(case.params, config, hidden))
    is_token = case.is_token
    np.testing.assert_allclose(
        logits[is_token], case.expected["logits"][is_token], rtol=0, atol=1e-4
    )
    logprobs = np.asarray(scoring.token_logprobs(case.params, config, token_ids))
    np.testing.assert_allclose(
        logprobs[:, 1:][is_token[:, 1:]],
        case.expected["logprobs"][is_token[:, 1:]],
        rtol=0,
        atol=1e-4,
    )


def test_greedy_generation(case: Case):
    """The same 32 tokens, from two prompts of different length side by side."""
    expected, lengths = case.expected["greedy"], case.expected["lengths"]
    rows, new = expected.shape
    length = int(lengths.max()) + new
    token_ids = np.zeros((rows, length), np.int32)
    token_ids[:, : lengths.max()] = case.expected["token_ids"] * case.is_token
    positions = jnp.broadcast_to(jnp.arange(length), token_ids.shape)

    @jax.jit
    def logits_of(token_ids):
        hidden, _ = transformer.forward(case.params, case.config, token_ids, positions)
        return transformer.unembed(case.params, case.config, hidden)

    for step in range(new):
        best = np.asarray(logits_of(token_ids)).argmax(-1)
        for row in range(rows):
            token_ids[row, lengths[row] + step] = best[row, lengths[row] + step - 1]
    made = [token_ids[row, n : n + new] for row, n in enumerate(lengths)]
    np.testing.assert_array_equal(np.stack(made), expected)
