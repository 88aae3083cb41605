"""The sampler's copy of the weights computes what the weights themselves do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from acim_jax.markup import prefix_rows
from acim_jax.model import scoring, transformer
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG


def test_weights_in_the_activations_dtype_give_the_same_bits() -> None:
    """In bfloat16 over float32 weights, with q/k norms, biases and an output matrix of its own."""
    model = dataclasses.replace(CONFIG, dtype="bfloat16", tie_embeddings=False, qk_norm=True)
    params = tiny_models.make_params(model)
    copied = transformer.for_sampling(params, model)
    assert {x.dtype.name for x in jax.tree.leaves(copied)} == {"bfloat16"}
    assert {x.dtype.name for x in jax.tree.leaves(params)} == {"float32"}
    token_ids = jnp.asarray(np.random.default_rng(0).integers(0, 600, (2, 9), np.int32))
    ours, theirs = (scoring.token_logprobs(p, model, token_ids) for p in (copied, params))
    np.testing.assert_array_equal(ours, theirs)
    assert np.ptp(np.asarray(ours)[:, 1:]) > 1


def test_weights_that_have_the_dtype_are_not_copied() -> None:
    params = tiny_models.make_params(CONFIG)
    same = transformer.for_sampling(params, CONFIG)
    pairs = zip(jax.tree.leaves(same), jax.tree.leaves(params), strict=True)
    assert all(a is b for a, b in pairs)


def test_decisions_scored_in_chunks_are_scored_alike() -> None:
    """Chunks of 1 to more than all columns, of which the last one is not full."""
    params = tiny_models.make_params(CONFIG)
    draw = np.random.default_rng(1)
    prompts = [draw.integers(0, 600, (n,)) for n in (6, 9, 11)]
    prefixes = [[draw.integers(0, 600, (3,))] * 2, [draw.integers(0, 600, (4,))]]
    rows = prefix_rows.pack(prompts, prefixes, width=11, num_problems=3)
    score = jax.jit(scoring.decision_logprobs, static_argnames=("config", "chunk"))
    whole = score(params, CONFIG, rows)
    assert np.ptp(np.asarray(whole)) > 1
    for chunk in (1, 4, 11, 64):
        pieces = score(params, CONFIG, rows, chunk=chunk)
        np.testing.assert_allclose(pieces, whole, rtol=1e-5)
