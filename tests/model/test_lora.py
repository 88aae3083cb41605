"""Low-rank adapters against weights that numpy merged, and against the chain rule of gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.markup import prefix_rows
from acim_jax.model import layers, lora, scoring, transformer
from acim_jax.model.config import Experts, LoraConfig
from acim_jax.sharding import axes, mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support import tiny_models
from tests.support.tiny_models import CONFIG

SETTINGS = LoraConfig(rank=3, alpha=5.0)
SCALE = 5.0 / 3.0
#: Of each weight, the letters of W, A and B without the layers' axis.
LETTERS = {
    ("attention", "w_q"): ("dnh", "dr", "rnh"),
    ("attention", "w_k"): ("dnh", "dr", "rnh"),
    ("attention", "w_v"): ("dnh", "dr", "rnh"),
    ("attention", "w_o"): ("nhd", "nhr", "rd"),
    ("mlp", "w_gate"): ("df", "dr", "rf"),
    ("mlp", "w_up"): ("df", "dr", "rf"),
    ("mlp", "w_down"): ("fd", "fr", "rd"),
}
LENGTHS = (6, 11)


def make_adapters(settings: LoraConfig = SETTINGS, config=CONFIG, seed: int = 1) -> lora.Params:
    """Adapters that change the model: B is not at its starting value."""
    base = transformer.abstract_params(config)
    adapters = lora.init(settings, base, jax.random.key(seed))

    def disturb(path, x):
        name = jax.tree_util.keystr(path)
        draw = np.random.default_rng([seed, *name.encode()])
        return x + draw.normal(0, 0.2, x.shape).astype(np.float32) if "_lora_b" in name else x

    return jax.tree_util.tree_map_with_path(disturb, adapters)


def frozen_of(base: lora.Params) -> lora.Frozen:
    return lora.Frozen(base, jnp.float32(SCALE))


def by_numpy(base: lora.Params, adapters: lora.Params) -> lora.Params:
    """W + (α/r)·A·B in float64, for every adapted weight."""
    blocks = {group: dict(leaves) for group, leaves in base["blocks"].items()}
    for (group, name), (w, a, b) in LETTERS.items():
        own = adapters["blocks"].get(group, {})
        if f"{name}_lora_a" in own:
            halves = (np.asarray(own[f"{name}_lora_{half}"], np.float64) for half in "ab")
            delta = np.einsum(f"l{a},l{b}->l{w}", *halves)
            weight = blocks[group][name]
            blocks[group][name] = np.asarray(weight, np.float64) + SCALE * delta
    return base | {"blocks": blocks}


def as_float32(params: lora.Params) -> lora.Params:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)


@pytest.fixture(scope="module")
def base() -> lora.Params:
    return tiny_models.make_params()


@pytest.fixture(scope="module")
def adapters() -> lora.Params:
    return make_adapters()


@pytest.fixture(scope="module")
def token_ids() -> np.ndarray:
    draw = np.random.default_rng(0)
    rows = np.zeros((len(LENGTHS), max(LENGTHS)), np.int32)
    for row, n in zip(rows, LENGTHS, strict=True):
        row[:n] = draw.integers(1, 600, n)
    return rows


def test_adapters_start_as_no_change(base):
    fresh = lora.init(SETTINGS, base, jax.random.key(0))
    assert fresh["blocks"].keys() == {"attention", "mlp"}
    L, D, N, H, F = 2, 32, 4, 8, 48
    attention, mlp = fresh["blocks"]["attention"], fresh["blocks"]["mlp"]
    assert attention["w_q_lora_a"].shape == (L, D, 3)
    assert attention["w_q_lora_b"].shape == (L, 3, N, H)
    assert attention["w_v_lora_b"].shape == (L, 3, 2, H)
    assert attention["w_o_lora_a"].shape == (L, N, H, 3)
    assert mlp["w_down_lora_a"].shape == (L, F, 3)
    assert mlp["w_down_lora_b"].shape == (L, 3, D)
    for group in (attention, mlp):
        for name, leaf in group.items():
            assert leaf.dtype == jnp.float32
            if name.endswith("_lora_b"):
                assert not leaf.any()
            else:
                bound = np.prod(leaf.shape[1:-1]) ** -0.5
                assert 0.8 * bound < np.abs(leaf).max() <= bound
    drawn = [x for x in jax.tree.leaves(fresh) if x.any()]
    assert len({float(x.ravel()[0]) for x in drawn}) == 7, "every A has a draw of its own"
    merged = lora.merge(fresh, frozen_of(base))
    for one, other in zip(jax.tree.leaves(merged), jax.tree.leaves(base), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_draw_does_not_depend_on_the_other_targets(base):
    every = lora.init(SETTINGS, base, jax.random.key(4))
    alone = lora.init(LoraConfig(rank=3, targets=("down",)), base, jax.random.key(4))
    assert alone["blocks"].keys() == {"mlp"}
    assert alone["blocks"]["mlp"].keys() == {"w_down_lora_a", "w_down_lora_b"}
    np.testing.assert_array_equal(
        alone["blocks"]["mlp"]["w_down_lora_a"], every["blocks"]["mlp"]["w_down_lora_a"]
    )
    other = lora.init(SETTINGS, base, jax.random.key(5))
    assert not np.array_equal(
        other["blocks"]["attention"]["w_q_lora_a"], every["blocks"]["attention"]["w_q_lora_a"]
    )


@pytest.mark.parametrize("donate", [False, True])
def test_merged_is_base_plus_scaled_product(base, adapters, donate: bool):
    expected = by_numpy(base, adapters)
    own = jax.tree.map(jnp.copy, base)
    merged = lora.merge(adapters, frozen_of(own), donate=donate)
    changed = 0
    flat = jax.tree_util.tree_leaves_with_path(merged)
    for (path, one), other, before in zip(
        flat, jax.tree.leaves(expected), jax.tree.leaves(base), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6, err_msg=str(path))
        changed += not np.array_equal(one, before)
    assert changed == len(LETTERS)
    if not donate:
        for one, other in zip(jax.tree.leaves(own), jax.tree.leaves(base), strict=True):
            np.testing.assert_array_equal(one, other)


def test_merging_rounds_once_to_the_weights_dtype(base, adapters):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), base)
    merged = lora.merge(adapters, frozen_of(half))
    expected = by_numpy(as_float32(half), adapters)
    for one, exact in zip(jax.tree.leaves(merged), jax.tree.leaves(expected), strict=True):
        assert one.dtype == jnp.bfloat16
        # half a unit in the last place of 8 bits
        np.testing.assert_allclose(np.asarray(one, np.float64), exact, rtol=2**-8, atol=1e-7)


@pytest.mark.parametrize(("size", "lost"), [(1e-4, 0.8), (4e-4, 0.5)])
def test_small_updates_survive_bfloat16(size: float, lost: float):
    """B as after a few optimiser steps of about 1e-4: of what it adds to a projection's output, by
    float64, the share that is found in the output, measured along it, is 1. From weights that the
    same update is merged into, most of it is lost."""
    model = dataclasses.replace(CONFIG, hidden_size=256, dtype="bfloat16", param_dtype="bfloat16")
    D, F, r = 256, model.intermediate_size, 4
    draw = np.random.default_rng(0)
    x, gate, up, down, a = (
        jnp.asarray(draw.normal(0, shape[-2] ** -0.5 if len(shape) == 2 else 1, shape), "bfloat16")
        for shape in ((1, 2048, D), (D, F), (D, F), (F, D), (F, r))
    )
    b = jnp.asarray(draw.choice([-size, size], (r, D)), jnp.float32)
    weights = {"w_gate": gate, "w_up": up, "w_down": down}
    beside = weights | {"w_down_lora_a": a, "w_down_lora_b": b}

    def run(params) -> np.ndarray:
        return np.asarray(layers.MLP(model).apply({"params": params}, x), np.float64)

    x64, gate64, up64, a64, b64 = (np.asarray(one, np.float64) for one in (x, gate, up, a, b))
    gated = x64 @ gate64
    hidden = gated / (1 + np.exp(-gated)) * (x64 @ up64)
    exact = hidden @ a64 @ b64
    share = lambda params: np.vdot(run(params) - run(weights), exact) / np.vdot(exact, exact)  # noqa: E731
    assert share(beside) == pytest.approx(1, abs=0.03)
    merged = jnp.asarray(np.asarray(down, np.float64) + a64 @ b64, "bfloat16")
    assert share(weights | {"w_down": merged}) < 1 - lost


@pytest.mark.parametrize(
    "change", [{}, {"unroll": True}, {"remat": True}, {"qkv_bias": False, "qk_norm": True}], ids=str
)
def test_logprobs_are_those_of_the_merged_weights(adapters, token_ids, change: dict):
    """Trainer (x·W + (x·A)·B) and sampler (x·W') agree to 1e-5 in float32."""
    config = dataclasses.replace(CONFIG, **change)
    base = tiny_models.make_params(config)
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    trainer = score(lora.model_params(adapters, frozen_of(base)), config, token_ids)
    by_hand = score(as_float32(by_numpy(base, adapters)), config, token_ids)
    sampler = score(lora.merge(adapters, frozen_of(base)), config, token_ids)
    without = score(base, config, token_ids)
    for row, n in enumerate(LENGTHS):
        np.testing.assert_allclose(trainer[row, :n], by_hand[row, :n], rtol=0, atol=1e-5)
        np.testing.assert_allclose(trainer[row, :n], sampler[row, :n], rtol=0, atol=1e-5)
        assert np.abs(trainer[row, 1:n] - without[row, 1:n]).max() > 0.1


def test_decisions_are_scored_with_the_adapters(base, adapters):
    draw = np.random.default_rng(2)
    prompts = [draw.integers(1, 600, (n,)) for n in (5, 4)]
    prefixes = [[draw.integers(1, 600, (2,))], [draw.integers(1, 600, (5,))]]
    rows = prefix_rows.pack(prompts, prefixes, width=9, num_problems=2)
    decide = jax.jit(scoring.decision_logprobs, static_argnums=1)
    found = decide(lora.model_params(adapters, frozen_of(base)), CONFIG, rows)
    expected = decide(as_float32(by_numpy(base, adapters)), CONFIG, rows)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.abs(found - decide(base, CONFIG, rows)).max() > 0.1


def test_gradients_follow_from_those_of_the_merged_weights(base, adapters, token_ids):
    """∂A = (α/r)·∂W·Bᵀ and ∂B = (α/r)·Aᵀ·∂W, with ∂W by plain differentiation."""
    ids = jnp.asarray(token_ids)
    weights = jnp.asarray(np.arange(token_ids.size).reshape(token_ids.shape) % 3, jnp.float32)

    def loss(params):
        return -jnp.sum(weights * scoring.token_logprobs(params, CONFIG, ids))

    full = jax.jit(jax.grad(loss))(as_float32(by_numpy(base, adapters)))["blocks"]
    found = jax.jit(jax.grad(lambda own: loss(lora.model_params(own, frozen_of(base)))))(adapters)
    for (group, name), (w, a, b) in LETTERS.items():
        own = adapters["blocks"][group]
        dw = np.asarray(full[group][name], np.float64)
        for half, letters, other, other_letters in (("a", a, "b", b), ("b", b, "a", a)):
            held = np.asarray(own[f"{name}_lora_{other}"], np.float64)
            expected = SCALE * np.einsum(f"l{w},l{other_letters}->l{letters}", dw, held)
            gradient = found["blocks"][group][f"{name}_lora_{half}"]
            size = np.abs(expected).max()
            assert size > 1e-2
            np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * size)


def test_on_eight_devices(base, adapters, token_ids):
    """Adapters are split as their weights' axes are; log-probs and merged weights are the same."""
    layout = axes.Layout.of(mesh.make(MeshConfig(data=2, fsdp=2, tensor=2)), axes.TRAIN_RULES)
    split = frozen_of(place.to_layout(base, layout))
    own = place.to_layout(adapters, layout)
    local = lambda group, name: own["blocks"][group][name].addressable_shards[0].data.shape  # noqa: E731
    assert local("attention", "w_q_lora_a") == (2, 32 // 2, 3)
    assert local("attention", "w_q_lora_b") == (2, 3, 4 // 2, 8)
    assert local("attention", "w_o_lora_a") == (2, 4 // 2, 8, 3)
    assert local("mlp", "w_down_lora_a") == (2, 48 // 2, 3)
    assert local("mlp", "w_down_lora_b") == (2, 3, 32 // 2)
    rows = np.tile(token_ids, (2, 1))
    placed = jax.device_put(rows, layout.sharding(("batch",)))
    score = jax.jit(scoring.token_logprobs, static_argnums=1, static_argnames="layout")
    found = score(lora.model_params(own, split), CONFIG, placed, layout=layout)
    expected = score(lora.model_params(adapters, frozen_of(base)), CONFIG, rows)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    merged = lora.merge(own, split, layout=layout)
    planned = place.param_shardings(base, layout)
    for one, other, sharding in zip(
        jax.tree.leaves(merged),
        jax.tree.leaves(by_numpy(base, adapters)),
        jax.tree.leaves(planned),
        strict=True,
    ):
        assert one.sharding.is_equivalent_to(sharding, one.ndim)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"targets": ("q", "gats")}, r'"gats" is no projection.*did you mean "gate"\?'),
        ({"targets": ("o_proj",)}, r'did you mean "o"\?'),
        ({"targets": ("w_down",)}, r'did you mean "down"\?'),
        ({"targets": ("experts",)}, r'"experts" is no projection.*q, k, v, o, gate, up, down'),
        ({"targets": ()}, "at least one"),
        ({"targets": ("q", "q")}, "distinct"),
        ({"rank": 0}, r"(?s)rank.*greater than or equal to 1"),
        ({"alpha": 0.0}, r"(?s)alpha.*greater than 0"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings: dict, said: str):
    with pytest.raises(ValueError, match=said):
        LoraConfig(**settings)


def test_experts_are_no_targets():
    experts = Experts(count=4, per_token=2, width=16, normalize=True)
    model = dataclasses.replace(CONFIG, experts=experts, family="qwen3_moe")
    with pytest.raises(ValueError, match=r"gate, down are experts in this model \(qwen3_moe\)"):
        lora.check(LoraConfig(targets=("q", "gate", "down")), model)
    chosen = LoraConfig(rank=3, alpha=5.0, targets=("q", "k", "v", "o"))
    lora.check(chosen, model)
    adapters = make_adapters(chosen, model)
    base = tiny_models.make_params(model)
    token_ids = np.arange(1, 19, dtype=np.int32).reshape(2, 9)
    score = jax.jit(scoring.token_logprobs, static_argnums=1)
    found = score(lora.model_params(adapters, frozen_of(base)), model, token_ids)
    expected = score(as_float32(by_numpy(base, adapters)), model, token_ids)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.abs(found - score(base, model, token_ids)).max() > 0.1
