"""The model against transformers, on the tiny random models of tests/support/make_golden.py.

Tolerances: 1e-5 per module, 1e-4 for logits and log-probs of the whole model, 1e-5 between a
forward pass over whole rows and one token at a time through the cache, all in float32.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.checkpoint import hf_config, hf_import
from acim_jax.model import layers, rope, scoring, transformer
from acim_jax.model.config import ModelConfig
from tests.support import caches, golden, golden_folders

POSITIONS = jnp.broadcast_to(jnp.arange(golden.COLUMNS), (golden.ROWS, golden.COLUMNS))
IS_TOKEN = np.arange(golden.COLUMNS) < golden.LENGTHS[:, None]
STEPS = int(golden.PROMPTS.max()) + golden.NEW_TOKENS


@dataclasses.dataclass(frozen=True)
class Case:
    """What transformers computed, and what we do."""

    config: ModelConfig
    theirs: dict[str, np.ndarray]
    ours: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=golden.cases())
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = golden_folders.write(request.param, tmp_path_factory.mktemp("golden") / "model")
    config = dataclasses.replace(
        hf_config.read_config(folder), dtype="float32", param_dtype="float32"
    )
    theirs = golden.expected(request.param)
    token_ids = golden.token_ids(int(theirs["seed"]), config.vocab_size)
    computed = jax.jit(compute, static_argnums=1)(hf_import.load(folder, config), config, token_ids)
    return Case(config, theirs, {name: np.asarray(value) for name, value in computed.items()})


def compute(params: Any, config: ModelConfig, token_ids: jax.Array) -> dict[str, jax.Array]:
    """All that is compared, in one program."""
    hidden, _ = transformer.forward(params, config, token_ids, POSITIONS)
    rows = jnp.concatenate([token_ids, token_ids])
    forced = jnp.concatenate([golden.PROMPTS, golden.LENGTHS])
    tokens, logprobs = step_by_step(params, config, rows, forced)
    greedy = [tokens[row, n : n + golden.NEW_TOKENS] for row, n in enumerate(golden.PROMPTS)]
    return modules(params, config) | {
        "logits": transformer.unembed(params, config, hidden[:, golden.LOGIT_COLUMNS]),
        "logprobs": scoring.token_logprobs(params, config, token_ids),
        "greedy": jnp.stack(greedy),
        "logprobs_by_step": logprobs[golden.ROWS :, : golden.COLUMNS],
    }


def step_by_step(params: Any, config: ModelConfig, token_ids: jax.Array, forced: jax.Array):
    """Tokens [B, STEPS + 1] and their log-probs: given up to `forced`, from there on greedy.

    Layers as a Python loop, where the whole rows go through them in a scan.
    """
    config = dataclasses.replace(config, unroll=True)
    given = jnp.pad(token_ids, ((0, 0), (0, STEPS + 1 - token_ids.shape[1])))

    def step(carry, at):
        cache, token_B = carry
        positions = jnp.broadcast_to(at, (len(token_B), 1))
        hidden, cache = transformer.forward(params, config, token_B[:, None], positions, cache)
        logprobs_BV = jax.nn.log_softmax(transformer.unembed(params, config, hidden[:, 0]))
        next_B = jnp.where(at + 1 < forced, given[:, at + 1], jnp.argmax(logprobs_BV, axis=-1))
        picked_B = jnp.take_along_axis(logprobs_BV, next_B[:, None], axis=-1)[:, 0]
        return (cache, next_B), (next_B, picked_B)

    start = (caches.empty(config, len(token_ids), STEPS), given[:, 0])
    _, (tokens, logprobs) = jax.lax.scan(step, start, jnp.arange(STEPS))
    first = jnp.zeros((len(token_ids), 1))
    return jnp.concatenate([given[:, :1], tokens.T], 1), jnp.concatenate([first, logprobs.T], 1)


def modules(params: Any, config: ModelConfig) -> dict[str, jax.Array]:
    """Modules of the first and the last layer, on the inputs that transformers' were given."""
    shape = (golden.ROWS, golden.COLUMNS, config.hidden_size)
    angles = rope.angles(POSITIONS, config.head_dim, config.rope_theta, config.rope_scaling)
    found: dict[str, jax.Array] = {"cos": angles.cos, "sin": angles.sin}
    for layer in (0, config.num_layers - 1):
        block = jax.tree.map(lambda stack, layer=layer: stack[layer], params["blocks"])
        given = {
            name: jnp.asarray(golden.draw(f"input {name}_{layer}", shape))
            for name in ("attention_norm", "attention", "mlp")
        }
        norm = layers.RMSNorm(config.norm_eps, "float32", "float32")
        found[f"attention_norm_{layer}"] = norm.apply(
            {"params": block["attention_norm"]}, given["attention_norm"]
        )
        window = None if layer < config.full_attention_layers else config.sliding_window
        found[f"attention_{layer}"], _ = layers.Attention(config).apply(
            {"params": block["attention"]},
            given["attention"],
            angles,
            POSITIONS,
            None,
            window=window,
        )
        name, module = ("mlp", layers.MLP) if config.experts is None else ("moe", layers.MoE)
        found[f"mlp_{layer}"] = module(config).apply({"params": block[name]}, given["mlp"])
    return {name: value[:, golden.MODULE_COLUMNS] for name, value in found.items()}


def test_each_module(case: Case):
    """Every module is given the same input, so errors do not add up over layers."""
    is_token = IS_TOKEN[:, golden.MODULE_COLUMNS]
    names = [n for n in case.theirs if n.startswith(("attention", "mlp", "cos", "sin"))]
    assert len(names) == 8
    for name in names:
        theirs = np.broadcast_to(case.theirs[name], case.ours[name].shape)
        np.testing.assert_allclose(
            case.ours[name][is_token], theirs[is_token], rtol=1e-5, atol=1e-5, err_msg=name
        )


def test_logits_and_logprobs(case: Case):
    is_token = IS_TOKEN[:, golden.LOGIT_COLUMNS]
    logits = case.ours["logits"][..., :: golden.LOGIT_STRIDE]
    assert np.std(case.theirs["logits"]) > 1
    np.testing.assert_allclose(logits[is_token], case.theirs["logits"][is_token], rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        case.ours["logprobs"][:, 1:][IS_TOKEN[:, 1:]],
        case.theirs["logprobs"][IS_TOKEN[:, 1:]],
        rtol=0,
        atol=1e-4,
    )


def test_greedy_generation(case: Case):
    """The same 64 tokens through the cache, after prompts of different length side by side."""
    np.testing.assert_array_equal(case.ours["greedy"], case.theirs["greedy"])


def test_a_token_at_a_time_has_the_same_logprobs(case: Case):
    """What a sampler computes is what the trainer does: no token's depends on later ones."""
    np.testing.assert_allclose(
        case.ours["logprobs_by_step"][IS_TOKEN], case.ours["logprobs"][IS_TOKEN], rtol=0, atol=1e-5
    )
