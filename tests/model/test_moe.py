"""Experts against loops in numpy float64; alone and in company; on one device and on eight."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.model import layers, moe, rope_scaling, scoring, transformer
from acim_jax.model.config import Experts
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support import tiny_models

EXPERTS = Experts(count=6, per_token=2, width=10, normalize=True)
CONFIG = dataclasses.replace(
    tiny_models.CONFIG, qkv_bias=False, qk_norm=True, experts=EXPERTS, family="qwen3_moe"
)
B, T, D = 4, 5, CONFIG.hidden_size


def arrays(seed: int = 0) -> tuple[dict, jax.Array]:
    """Weights under which experts are used very unevenly (one by no token), and inputs."""
    draw = np.random.default_rng(seed)
    E, F = EXPERTS.count, EXPERTS.width
    params = {
        "router": draw.normal(size=(D, E)) * 0.3,
        "w_gate": draw.normal(size=(E, D, F)) * 0.3,
        "w_up": draw.normal(size=(E, D, F)) * 0.3,
        "w_down": draw.normal(size=(E, F, D)) * 0.3,
    }
    x = draw.normal(size=(B, T, D)) + 1.0
    params["router"][:, 3] -= 1.0
    params["router"][:, 0] += 0.1
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), (params, x))


def by_loop(params: dict, x: jax.Array, experts: Experts) -> tuple[np.ndarray, np.ndarray]:
    """Outputs, and how many tokens each expert was chosen for."""
    p, x64 = jax.tree.map(lambda value: np.asarray(value, np.float64), (params, x))
    out, used = np.zeros(x.shape), np.zeros(experts.count, int)
    for b, t in np.ndindex(*x.shape[:2]):
        token = x64[b, t]
        logits = token @ p["router"]
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        chosen = np.argsort(-shares)[: experts.per_token]
        total = shares[chosen].sum() if experts.normalize else 1.0
        for e in chosen:
            gate = token @ p["w_gate"][e]
            hidden = gate / (1 + np.exp(-gate)) * (token @ p["w_up"][e])
            out[b, t] += shares[e] / total * (hidden @ p["w_down"][e])
            used[e] += 1
    return out, used


@pytest.mark.parametrize(("per_token", "normalize"), [(2, True), (3, False), (1, True), (6, False)])
def test_experts_are_mixed_as_by_a_loop(per_token: int, normalize: bool):
    experts = dataclasses.replace(EXPERTS, per_token=per_token, normalize=normalize)
    params, x = arrays()
    config = dataclasses.replace(CONFIG, experts=experts)
    ours = layers.MoE(config).apply({"params": params}, x)
    expected, used = by_loop(params, x, experts)
    assert per_token == 6 or (used.min() == 0 and used.max() >= B * T / 2)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_all_experts_weighted_by_their_shares():
    """The dense formulation: every expert on every token, times its share or 0."""
    params, x = arrays()
    mixing = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)

    def sparse(params, x):
        return jnp.sum(mixing * layers.MoE(CONFIG).apply({"params": params}, x))

    def dense(params, x):
        choice = moe.route(x, params["router"], EXPERTS)
        shares = jnp.sum(jax.nn.one_hot(choice.experts, 6) * choice.shares[..., None], axis=2)
        gate = jax.nn.silu(jnp.einsum("BTD,EDF->BTEF", x, params["w_gate"]))
        hidden = gate * jnp.einsum("BTD,EDF->BTEF", x, params["w_up"])
        out = jnp.einsum("BTEF,EFD->BTED", hidden, params["w_down"])
        return jnp.sum(mixing[:, :, None] * out * shares[..., None])

    ours = jax.jit(jax.grad(sparse, argnums=(0, 1)))(params, x)
    expected = jax.jit(jax.grad(dense, argnums=(0, 1)))(params, x)
    assert np.abs(expected[0]["w_gate"][3]).max() == 0  # by no token
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), ours, expected
    )


def test_a_row_does_not_depend_on_its_neighbours():
    """The same numbers alone, among others and among copies of itself, which fill no expert up.

    Products of other shapes sum in another order: on some processors 5e-6 lie between them.
    """
    params, x = arrays()
    apply = jax.jit(functools.partial(layers.MoE(CONFIG).apply, {"params": params}))
    together = np.asarray(apply(x))
    for row in range(B):
        alone = np.asarray(apply(x[row : row + 1]))
        copies = np.asarray(apply(jnp.repeat(x[row : row + 1], 9, axis=0)))
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(copies[7], together[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("rules", "held"),
    [
        ({}, (2, 3, 16, 10)),
        ({"expert": None, "expert_mlp": "tensor"}, (2, 6, 16, 5)),
    ],
    ids=["experts split", "their width split"],
)
def test_sharded_equals_unsharded(rules: axes.Rules, held: tuple[int, ...]):
    """Log-probs and gradients on 2 × 2 × 2 devices; `held` of [L, E, D, F] is on each."""
    params = tiny_models.make_params(CONFIG)
    ids = np.random.default_rng(2).integers(0, 600, (8, 7)).astype(np.int32)
    targets = np.random.default_rng(3).normal(size=(8, 7)).astype(np.float32)

    def loss(params, ids, layout):
        return jnp.sum(targets * scoring.token_logprobs(params, CONFIG, ids, layout=layout))

    value_and_grad = jax.jit(jax.value_and_grad(loss), static_argnums=2)
    expected = value_and_grad(params, ids, None)
    devices = mesh.make(MeshConfig(data=2, fsdp=2, tensor=2))
    layout = axes.Layout.of(devices, axes.TRAIN_RULES | rules)
    ours = value_and_grad(place.to_layout(params, layout), place.put(ids, layout), layout)
    np.testing.assert_allclose(ours[0], expected[0], rtol=1e-5)
    router = np.asarray(expected[1]["blocks"]["moe"]["router"])
    assert np.abs(router).max() > 1e-3
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), ours[1], expected[1]
    )
    experts = place.to_layout(params, layout)["blocks"]["moe"]["w_up"]
    assert experts.addressable_shards[0].data.shape == held


def test_initial_scale_of_experts():
    """Fan-in is that of one expert: D for gate and up, F for down, which is shrunk by √(2L)."""
    experts = Experts(count=8, per_token=2, width=48, normalize=True)
    config = dataclasses.replace(CONFIG, experts=experts, hidden_size=64)
    params = jax.jit(transformer.init, static_argnums=0)(config, jax.random.key(1))["blocks"]["moe"]
    assert np.std(params["w_gate"]) == pytest.approx(64**-0.5, rel=0.05)
    assert np.std(params["w_up"]) == pytest.approx(64**-0.5, rel=0.05)
    assert np.std(params["w_down"]) == pytest.approx((48 * 4) ** -0.5, rel=0.05)
    assert not np.array_equal(params["w_up"][0, 0], params["w_up"][0, 1])


def test_tokens_split_over_the_experts_axes_are_refused():
    params, x = arrays()
    devices = mesh.make(MeshConfig(fsdp=1, tensor=2), jax.devices()[:2])
    layout = axes.Layout.of(devices, axes.TRAIN_RULES | {"sequence": "tensor"})
    with pytest.raises(ValueError, match=r"would use the mesh axes \['tensor'\] twice"):
        layers.MoE(CONFIG, layout).apply({"params": params}, x)


def test_a_share_of_the_mesh_that_does_not_divide_the_experts_is_named():
    odd = dataclasses.replace(CONFIG, experts=dataclasses.replace(EXPERTS, count=5))
    layout = axes.Layout.of(mesh.make(MeshConfig(tensor=2)), axes.TRAIN_RULES)
    with pytest.raises(ValueError, match=r"Parameter blocks/moe/w_down of shape \(2, 5, 10, 32\)"):
        place.param_shardings(transformer.abstract_params(odd), layout)


@pytest.mark.parametrize("change", [{"unroll": True}, {"remat": True}])
def test_how_layers_are_run_changes_nothing(change: dict):
    """Layers that differ in their window, experts, and RoPE that depends on the position."""
    config = dataclasses.replace(
        CONFIG,
        sliding_window=3,
        full_attention_layers=1,
        rope_scaling=rope_scaling.Dynamic(factor=2.0, original_positions=4),
    )
    params = tiny_models.make_params(config)
    ids = jnp.asarray(np.random.default_rng(4).integers(0, 600, (2, 8)), jnp.int32)
    targets = np.random.default_rng(5).normal(size=(2, 8)).astype(np.float32)

    def loss(params, config):
        return jnp.sum(targets * scoring.token_logprobs(params, config, ids))

    value_and_grad = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    expected = value_and_grad(params, config)
    ours = value_and_grad(params, dataclasses.replace(config, **change))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours, expected
    )
    plain = value_and_grad(params, CONFIG)[0]
    assert abs(plain - expected[0]) > 1e-2
