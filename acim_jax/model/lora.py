"""Low-rank adapters (LoRA, arXiv:2106.09685): every targeted weight W is used as W + (α/r)·A·B.

The base's parameters are frozen; the adapters are a parameter tree of their own, and all that is
trained, so gradients and moments exist for them alone:

    {"blocks": {"attention": {"w_q_lora_a": [L, D, r], "w_q_lora_b": [L, r, N, H], …}, "mlp": …}}

A has the input axes of its weight and B the output axes. A projection adds (x·A)·B to x·W
(`model_params`, `project`): A·B is never formed, and the base has no gradient. The sum is rounded
to the activations' dtype once: a bfloat16 has 8 bits, so that what adapters add in their first
steps, a thousandth of x·W or less, would mostly be lost from a sum of two rounded numbers, and
from a merged W as well. Sampling in float32, where nothing is lost, gets weights with the adapters
in them (`for_sampling`, `merge`).
"""

import functools
import math
import zlib
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from acim_jax.model.config import PROJECTIONS, LoraConfig, ModelConfig
from acim_jax.sharding import axes

Params = dict[str, Any]


class Frozen(NamedTuple):
    """What a LoRA run holds fixed: the base's parameters, and α/r."""

    params: Params
    scale: Float[Array, ""]


def check(config: LoraConfig, model: ModelConfig) -> None:
    """ValueError for targets that this model has no single weight for."""
    experts = [t for t in config.targets if PROJECTIONS[t].group == "mlp"]
    if model.experts is not None and experts:
        rest = [t for t in PROJECTIONS if PROJECTIONS[t].group != "mlp"]
        raise ValueError(
            f"lora.targets: {', '.join(experts)} are experts in this model ({model.family}), and "
            f"experts cannot have adapters; choose from {', '.join(rest)}."
        )


def init(config: LoraConfig, base: Params, key: jax.Array) -> Params:
    """Adapters in float32 for `base` (arrays or shapes): A uniform in ±1/√(inputs), B zero.

    They start as no change at all. A weight's draw depends on the key and its name, not on what
    other targets there are.
    """
    adapters: Params = {}
    for target in config.targets:
        group, name, inputs = PROJECTIONS[target]
        layers, *shape = base["blocks"][group][name].shape
        bound = math.prod(shape[:inputs]) ** -0.5
        a = jax.random.uniform(
            jax.random.fold_in(key, zlib.crc32(name.encode())),
            (layers, *shape[:inputs], config.rank),
            jnp.float32,
            -bound,
            bound,
        )
        own = adapters.setdefault(group, {})
        own[f"{name}_lora_a"] = a
        own[f"{name}_lora_b"] = jnp.zeros((layers, config.rank, *shape[inputs:]), jnp.float32)
    return {"blocks": adapters}


def abstract(config: LoraConfig, base: Params) -> Params:
    """The adapters' shapes and dtypes, without making them."""
    return jax.eval_shape(functools.partial(init, config, base), jax.random.key(0))


def model_params(trained: Params, frozen: Frozen | None) -> Params:
    """The parameters to train a model with: `trained` itself, or the base beside its adapters.

    The result has the adapters' leaves next to their weights, with α/r inside B.
    """
    if frozen is None:
        return trained
    blocks = dict(frozen.params["blocks"])
    for group, adapters in trained["blocks"].items():
        scaled = {
            name: leaf * frozen.scale if name.endswith("_lora_b") else leaf
            for name, leaf in adapters.items()
        }
        blocks[group] = blocks[group] | scaled
    return frozen.params | {"blocks": blocks}


def project(module: nn.Module, name: str, x: Array, w: Array, contracted: int) -> Array:
    """x·W over x's last `contracted` axes, plus (x·A)·B if the module was given an adapter for its
    weight `name`: summed in float32 then, and rounded to x's dtype once."""
    if not module.has_variable("params", f"{name}_lora_a"):
        return jnp.tensordot(x, w, axes=contracted)
    a = module.get_variable("params", f"{name}_lora_a").astype(x.dtype)
    b = module.get_variable("params", f"{name}_lora_b").astype(x.dtype)
    base = cast(Array, _float32_product(x, w, contracted))
    low_rank = cast(Array, _float32_product(jnp.tensordot(x, a, axes=contracted), b, 1))
    return (base + low_rank).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _float32_product(x: Array, w: Array, contracted: int) -> Array:
    """x·w over `contracted` axes, not rounded to their dtype. Its gradients are products in that
    dtype, as those of a rounded product are: float32 ones would take twice as long or more."""
    return jnp.tensordot(x, w, axes=contracted, preferred_element_type=jnp.float32)


def _product_and_factors(x: Array, w: Array, contracted: int) -> tuple[Array, tuple[Array, Array]]:
    return _float32_product(x, w, contracted), (x, w)


def _factors_gradients(
    contracted: int, factors: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, w = factors
    rounded = functools.partial(jnp.tensordot, axes=contracted)
    return jax.vjp(rounded, x, w)[1](gradient.astype(x.dtype))


_float32_product.defvjp(_product_and_factors, _factors_gradients)


def for_sampling(
    trained: Params, frozen: Frozen, config: ModelConfig, *, layout: axes.Layout | None = None
) -> Params:
    """The parameters to sample with, in the activations' dtype: merged where that is float32, since
    every weight is read for every token; else beside the adapters, as the trainer has them."""
    if config.dtype == "float32":
        return merge(trained, frozen, layout=layout, dtype=config.dtype)
    return model_params(trained, frozen)


def adapted(adapters: Params, params: Params) -> Params:
    """The weights that have an adapter, as {group: {name: weight}}."""
    return {
        group: {
            name.removesuffix("_lora_a"): params["blocks"][group][name.removesuffix("_lora_a")]
            for name in own
            if name.endswith("_lora_a")
        }
        for group, own in adapters["blocks"].items()
    }


def merge(
    adapters: Params,
    frozen: Frozen,
    *,
    layout: axes.Layout | None = None,
    dtype: str | None = None,
    donate: bool = False,
) -> Params:
    """The base with W + (α/r)·A·B in place of every adapted W, in W's own dtype and sharding.

    Summed in float32, a layer at a time. Parameters without an adapter are the base's own arrays.
    dtype: of the result's adapted weights, if not W's own. donate: the base's adapted weights are
    overwritten; do not use the base afterwards.
    """
    blocks = frozen.params["blocks"]
    weights = adapted(adapters, frozen.params)
    run = _merge_in_place if donate else _merge
    merged = run(weights, adapters["blocks"], frozen.scale, layout=layout, dtype=dtype)
    return frozen.params | {
        "blocks": blocks | {group: blocks[group] | merged[group] for group in merged}
    }


def _merged(
    weights: Params,
    adapters: Params,
    scale: Array,
    *,
    layout: axes.Layout | None,
    dtype: str | None,
) -> Params:
    def one(group: str, name: str, w: Array) -> Array:
        w = w.astype(dtype or w.dtype)
        a, b = adapters[group][f"{name}_lora_a"], adapters[group][f"{name}_lora_b"]

        def add_layer(layer: Array, w: Array) -> Array:
            delta = jnp.tensordot(a[layer], b[layer], axes=1, precision="highest")
            return w.at[layer].set((w[layer].astype(jnp.float32) + scale * delta).astype(w.dtype))

        w = jax.lax.fori_loop(0, w.shape[0], add_layer, w)
        return axes.constrain(w, axes.PARAM_AXES[f"blocks/{group}/{name}"], layout)

    return {g: {name: one(g, name, w) for name, w in own.items()} for g, own in weights.items()}


_merge = functools.partial(jax.jit, static_argnames=("layout", "dtype"))(_merged)
_merge_in_place = functools.partial(
    jax.jit, static_argnames=("layout", "dtype"), donate_argnames=("weights",)
)(_merged)
