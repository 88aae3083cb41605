"""The decoder's variants against one another: scanned and unrolled, with and without remat."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.model import transformer
from tests.support import caches, tiny_models
from tests.support.tiny_models import CONFIG

B, T = 2, 9
TOKEN_IDS = jnp.asarray(np.random.default_rng(0).integers(0, 600, (B, T)), jnp.int32)
POSITIONS = jnp.broadcast_to(jnp.arange(T), (B, T))

forward = jax.jit(transformer.forward, static_argnums=1)


def loss_and_gradient(config):
    mixing = np.random.default_rng(1).normal(size=(B, T, CONFIG.hidden_size)).astype(np.float32)

    def loss(params):
        hidden, _ = transformer.forward(params, config, TOKEN_IDS, POSITIONS)
        return jnp.sum(hidden * mixing)

    return jax.jit(jax.value_and_grad(loss))(tiny_models.make_params())


@pytest.fixture(scope="module")
def scanned():
    return loss_and_gradient(CONFIG)


@pytest.mark.parametrize("change", [{"unroll": True}, {"remat": True}])
def test_variants_agree(scanned, change: dict):
    value, gradient = loss_and_gradient(dataclasses.replace(CONFIG, **change))
    np.testing.assert_allclose(value, scanned[0], rtol=1e-5)
    flat = dict(jax.tree_util.tree_leaves_with_path(scanned[1]))
    for path, g in jax.tree_util.tree_leaves_with_path(gradient):
        np.testing.assert_allclose(g, flat[path], rtol=1e-4, atol=1e-4, err_msg=str(path))


@pytest.mark.parametrize("unroll", [False, True, None])
def test_one_token_at_a_time_equals_all_at_once(unroll: bool | None):
    """None: by the copies for decoding."""
    config = dataclasses.replace(CONFIG, unroll=unroll)
    params = tiny_models.make_params()
    if unroll is None:
        params = transformer.for_sampling(params, config)
    whole, nothing = forward(params, config, TOKEN_IDS, POSITIONS)
    assert nothing is None
    cache = caches.empty(config, B, T + 2)
    for t in range(T):
        hidden, cache = forward(
            params, config, TOKEN_IDS[:, t : t + 1], POSITIONS[:, t : t + 1], cache
        )
        np.testing.assert_allclose(hidden[:, 0], whole[:, t], rtol=0, atol=1e-5)
    pages = 1 + B  # a page a row, and the trash page
    held = sum(x.nbytes for x in jax.tree.leaves(cache.pages))
    assert held == 2 * 4 * config.num_layers * pages * config.num_kv_heads * 64 * config.head_dim


def test_initial_scale():
    """Embeddings N(0, 0.02²); the variance of the residual stream does not grow with depth."""
    config = dataclasses.replace(CONFIG, num_layers=4, tie_embeddings=False, hidden_size=64)
    params = jax.jit(transformer.init, static_argnums=0)(config, jax.random.key(1))
    assert np.std(params["embed"]["embedding"]) == pytest.approx(0.02, rel=0.03)
    assert np.std(params["unembed"]["kernel"]) == pytest.approx(0.02, rel=0.03)
    blocks = params["blocks"]
    # fan-in of a query projection is D, of the output projection N·H, shrunk by √(2L) = √8
    assert np.std(blocks["attention"]["w_q"]) == pytest.approx(64**-0.5, rel=0.1)
    assert np.std(blocks["attention"]["w_o"]) == pytest.approx((32 * 8) ** -0.5, rel=0.1)
    assert np.std(blocks["mlp"]["w_down"]) == pytest.approx((48 * 8) ** -0.5, rel=0.1)
    layers = [np.asarray(w) for w in blocks["mlp"]["w_up"]]
    assert not any(np.array_equal(layers[0], other) for other in layers[1:])


def test_half_precision_keeps_float32_where_it_matters():
    """bfloat16 activations: log-probs stay within bfloat16's error of the float32 model."""
    config = dataclasses.replace(CONFIG, dtype="bfloat16")
    params = tiny_models.make_params()
    hidden, _ = forward(params, config, TOKEN_IDS, POSITIONS)
    logits = transformer.unembed(params, config, hidden)
    assert hidden.dtype == jnp.bfloat16
    assert logits.dtype == jnp.float32
    exact, _ = forward(params, CONFIG, TOKEN_IDS, POSITIONS)
    expected = transformer.unembed(params, CONFIG, exact)
    error = jnp.abs(logits - expected).max() / jnp.abs(expected).max()
    assert 0 < error < 0.05
