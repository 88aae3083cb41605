"""The one shift, chunked logits, temperature and ℓ_c against loops in numpy float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.improve import packing
from acim_jax.markup import prefix_rows
from acim_jax.model import scoring, transformer
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG

B, T = 3, 10


@pytest.fixture(scope="module")
def params():
    return tiny_models.make_params()


@pytest.fixture(scope="module")
def token_ids():
    return np.random.default_rng(0).integers(0, 600, (B, T)).astype(np.int32)


@pytest.fixture(scope="module")
def logits(params, token_ids) -> np.ndarray:
    return logits_of(params, token_ids)


def logits_of(params, token_ids: np.ndarray) -> np.ndarray:
    positions = np.broadcast_to(np.arange(T, dtype=np.int32), token_ids.shape)
    return np.asarray(_logits(params, token_ids, positions), np.float64)


@jax.jit
def _logits(params, token_ids, positions):
    hidden, _ = transformer.forward(params, CONFIG, token_ids, positions)
    return transformer.unembed(params, CONFIG, hidden)


def loop_logprobs(logits: np.ndarray, token_ids: np.ndarray, temperature: float) -> np.ndarray:
    """log softmax(logits at t − 1 / τ)[token t], one token at a time."""
    out = np.zeros(token_ids.shape)
    for b in range(len(token_ids)):
        for t in range(1, token_ids.shape[1]):
            scaled = logits[b, t - 1] / temperature
            peak = scaled.max()
            out[b, t] = scaled[token_ids[b, t]] - peak - np.log(np.exp(scaled - peak).sum())
    return out


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [0, 4, 5])
def test_token_logprobs(params, token_ids, logits, temperature: float, chunk: int):
    score = jax.jit(scoring.token_logprobs, static_argnames=("config", "chunk"))
    ours = score(params, CONFIG, token_ids, temperature=temperature, chunk=chunk)
    expected = loop_logprobs(logits, token_ids, temperature)
    assert np.ptp(expected[:, 1:]) > 1.0, "the log-probs hardly differ"
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


def test_a_token_sees_nothing_behind_it(params, token_ids, logits):
    changed = token_ids.copy()
    changed[:, 6:] = 11
    score = jax.jit(scoring.token_logprobs, static_argnames=("config", "chunk"))
    ours = np.asarray(score(params, CONFIG, changed))
    expected = loop_logprobs(logits, token_ids, 1.0)
    np.testing.assert_allclose(ours[:, :6], expected[:, :6], rtol=0, atol=1e-5)
    assert (np.abs(ours[:, 6:] - expected[:, 6:]) > 1e-3).any()


def test_gradients_do_not_depend_on_the_chunk(params, token_ids):
    weights = np.random.default_rng(1).normal(size=(B, T)).astype(np.float32)

    def total(params, chunk):
        return jnp.sum(
            weights * scoring.token_logprobs(params, CONFIG, jnp.asarray(token_ids), chunk=chunk)
        )

    whole = jax.jit(jax.grad(total), static_argnums=1)(params, 0)
    parts = jax.jit(jax.grad(total), static_argnums=1)(params, 3)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


PROMPTS = [ids(2, 70, 71, 72, 3), ids(2, 80, 3)]
TEXT = [ids(300, 301), ids(310, 311, 312, 313)]
CODE = [ids(400)]


def batch(width: int = 12, num_rows: int = 4) -> packing.DecisionBatch:
    strategies = [np.array([0.25, 0.75]), np.array([1.0, 0.0])]
    rows = prefix_rows.pack(PROMPTS, [TEXT, CODE], width=width, num_problems=num_rows)
    return packing.decision_batch(rows, strategies)


def prefix_logprob(params, prompt: np.ndarray, prefix: np.ndarray, temperature: float) -> float:
    """log π(prefix | prompt) from the logits of that one text."""
    row = np.concatenate([prompt, prefix])
    padded = np.full((1, T), 5, np.int32)
    padded[0, : len(row)] = row
    logprobs = loop_logprobs(logits_of(params, padded), padded, temperature)
    return float(logprobs[0, len(prompt) : len(row)].sum())


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_decision_logprobs(params, temperature: float):
    """Two prefixes of different length for text, one for code; rows without a problem are finite
    and do not disturb."""
    b = batch()
    of = jax.jit(scoring.decision_logprobs, static_argnames="config")
    ours = np.asarray(of(params, CONFIG, b.rows, temperature=temperature))
    for p, prompt in enumerate(PROMPTS):
        for c, prefixes in enumerate((TEXT, CODE)):
            each = [prefix_logprob(params, prompt, prefix, temperature) for prefix in prefixes]
            np.testing.assert_allclose(ours[p, c], np.logaddexp.reduce(each), rtol=1e-5)
    assert np.isfinite(ours).all()
    assert (ours[2:] < -1e29).all(), "padding counts as probability 0"
    assert b.rows.prompts.shape == (4, 12) and b.rows.prefixes.shape == (4, 16)
    wider = batch(width=17, num_rows=2)
    again = of(params, CONFIG, wider.rows, temperature=temperature)
    np.testing.assert_allclose(again, ours[:2], rtol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"sliding_window": 4}, {"unroll": True, "remat": True}])
def test_branches_see_their_stem_up_to_where_they_leave_it(params, settings: dict):
    """Branches that leave one stem at three places, scored as texts of their own."""
    config = dataclasses.replace(CONFIG, **settings)
    stem = ids(2, 70, 71, 72, 73, 74)
    leaving = {1: ids(300, 301), 4: ids(310, 311, 312), 6: ids(320)}
    branches, branch_of = np.zeros((2, 8), np.int32), np.full((2, 8), -1, np.int32)
    starts, at = np.ones((2, 8), np.int32), 0
    for branch, (start, tokens) in enumerate(leaving.items()):
        where = slice(at, at + len(tokens))
        branches[0, where], branch_of[0, where], starts[0, where] = tokens, branch, start
        at += len(tokens)
    stems = np.stack([np.pad(stem, (0, 3)), np.zeros((9,), np.int32)])
    of = jax.jit(scoring.branch_logprobs, static_argnums=1)
    found = np.asarray(of(params, config, stems, branches, branch_of, starts, temperature=0.7))
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    expected: list[float] = []
    for start, tokens in leaving.items():
        row = np.concatenate([stem[:start], tokens])[None]
        expected += np.asarray(score(params, config, row, temperature=0.7))[0, start:].tolist()
    np.testing.assert_allclose(found[0, :at], expected, rtol=0, atol=1e-5)
    assert np.isfinite(found).all()


def test_a_prompt_is_computed_once_for_all_its_prefixes():
    """Counted in the compiled function: matrix products grow with the columns, not with a row for
    every prefix."""
    params = tiny_models.make_params()

    def flops(prefixes: int) -> float:
        texts = [[ids(300 + i, 301) for i in range(prefixes)], [ids(400, 401)]]
        rows = prefix_rows.pack([np.arange(5, 101)], texts, width=96, num_problems=1)
        compiled = jax.jit(scoring.decision_logprobs, static_argnums=1).lower(params, CONFIG, rows)
        return compiled.compile().cost_analysis()["flops"]

    assert flops(7) < 1.05 * flops(1)
