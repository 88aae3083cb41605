"""The sampler's copy of the weights computes what the weights themselves do."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from acim_jax.markup import prefix_rows
from acim_jax.model import scoring, transformer
from acim_jax.model.config import PROJECTIONS
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
    same = transformer.for_sampling(params, dataclasses.replace(CONFIG, unroll=False))
    pairs = zip(jax.tree.leaves(same), jax.tree.leaves(params), strict=True)
    assert all(a is b for a, b in pairs)


def test_decoding_has_its_own_layers_by_outputs_and_inputs() -> None:
    """x · W of each projection, by numpy, is rows · x; nothing else is copied."""
    model = dataclasses.replace(CONFIG, tie_embeddings=False)
    params = tiny_models.make_params(model)
    found = transformer.for_sampling(params, model)
    assert len(found["layers"]) == model.num_layers
    for path, x in jax.tree.leaves_with_path(params):
        assert functools.reduce(lambda tree, key: tree[key.key], path, found) is x
    draw = np.random.default_rng(0)
    for layer, own in enumerate(found["layers"]):
        for group, name, inputs in PROJECTIONS.values():
            w = np.asarray(params["blocks"][group][name][layer])
            x = draw.normal(size=w.shape[:inputs]).astype(np.float32)
            rows = np.asarray(own[group][f"{name}_rows"])
            np.testing.assert_allclose(
                rows @ x.ravel(), np.tensordot(x, w, inputs).ravel(), rtol=0, atol=1e-5
            )
            assert name not in own[group]
        np.testing.assert_array_equal(
            own["mlp_norm"]["scale"], params["blocks"]["mlp_norm"]["scale"][layer]
        )
    hidden = jnp.asarray(draw.normal(size=(3, model.hidden_size)), jnp.float32)
    expected = np.asarray(hidden) @ np.asarray(params["unembed"]["kernel"])
    ours = transformer.unembed(found, model, hidden)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    changed = found["unembed"] | {"kernel": 0 * params["unembed"]["kernel"]}
    np.testing.assert_array_equal(
        transformer.unembed(found | {"unembed": changed}, model, hidden), ours
    )


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
