"""The decoder: pure functions over a plain parameter dict with stacked layers `[L, …]`.

    hidden, cache = forward(params, config, token_ids, positions, cache)
    logits        = unembed(params, config, hidden)

Blocks are Flax linen modules (`model/layers.py`), initialised under `vmap` so that layers are
stacked, and applied under `lax.scan` or in a Python loop (`config.unroll`).
"""

import functools
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from acim_jax.model import layers, rope
from acim_jax.model.cache import Cache
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes

Params = dict[str, Any]


def init(config: ModelConfig, key: jax.Array) -> Params:
    """Random parameters (embeddings N(0, 0.02²), matrices LeCun normal, output ones shrunk).

    The matrices that write into the residual stream are divided by √(2L), so that its variance
    does not grow with depth (GPT-2's initialisation).
    """
    embed_key, block_key, head_key = jax.random.split(key, 3)
    block = layers.Block(config)
    x = jnp.zeros((1, 1, config.hidden_size), config.dtype)
    positions = jnp.zeros((1, 1), jnp.int32)
    angles = _angles(config, positions)

    def init_block(one_key: jax.Array) -> Params:
        return cast(Params, block.init(one_key, x, angles, positions, None)["params"])

    blocks = jax.vmap(init_block)(jax.random.split(block_key, config.num_layers))
    shrink = (2 * config.num_layers) ** -0.5
    blocks["attention"]["w_o"] *= shrink
    blocks["mlp" if config.experts is None else "moe"]["w_down"] *= shrink
    table = nn.initializers.normal(0.02)
    embed_shape = (config.vocab_size, config.hidden_size)
    params: Params = {
        "embed": {"embedding": table(embed_key, embed_shape, config.param_dtype)},
        "blocks": blocks,
        "final_norm": {"scale": jnp.ones((config.hidden_size,), config.param_dtype)},
    }
    if not config.tie_embeddings:
        params["unembed"] = {"kernel": table(head_key, embed_shape[::-1], config.param_dtype)}
    return params


def abstract_params(config: ModelConfig) -> Params:
    """The parameters' shapes and dtypes, without making them."""
    return jax.eval_shape(lambda key: init(config, key), jax.random.key(0))


def for_sampling(params: Params, config: ModelConfig) -> Params:
    """The parameters in the activations' dtype, to which each use of one converts it anyway.

    Decoding reads every weight for every token: it should not read float32 to compute in bfloat16.
    Parameters that have the dtype already are the same arrays.
    """
    leaves, tree = jax.tree.flatten(params)
    is_there = [x.dtype == config.dtype for x in leaves]
    others = [x for x, there in zip(leaves, is_there, strict=True) if not there]
    converted = iter(_converted(others, config.dtype) if others else ())
    leaves = [x if there else next(converted) for x, there in zip(leaves, is_there, strict=True)]
    return jax.tree.unflatten(tree, leaves)


@functools.partial(jax.jit, static_argnames=("dtype",))
def _converted(arrays: list[jax.Array], dtype: str) -> list[jax.Array]:
    return [x.astype(dtype) for x in arrays]


def unstack(params: Params, config: ModelConfig) -> Params:
    """Splits stacked blocks into one dict a layer, once, outside of a decode loop."""
    if not config.unroll or isinstance(params["blocks"], tuple):
        return params
    blocks = tuple(
        jax.tree.map(lambda x, layer=layer: x[layer], params["blocks"])
        for layer in range(config.num_layers)
    )
    return params | {"blocks": blocks}


def forward(
    params: Params,
    config: ModelConfig,
    token_ids: Int[Array, "B T"],
    positions: Int[Array, "B T"],
    cache: Cache | None = None,
    layout: axes.Layout | None = None,
    *,
    visible: Bool[Array, "B T T"] | None = None,
) -> tuple[Float[Array, "B T D"], Cache | None]:
    """Final hidden states (after the last norm) of `token_ids` standing at `positions`.

    Without a cache the tokens see one another; with one they are written into it first and see
    all of their row up to their own position. The cache is returned updated. visible: the columns
    that each column sees, where a row is no plain text (`model/scoring.py`); without a cache.
    """
    # Gathered over `embed` before the look-up: rows come out in the activations' sharding.
    table_VD = params["embed"]["embedding"].astype(config.dtype)
    x_BTD = axes.constrain(table_VD, ("vocab", "activation_embed"), layout)[token_ids]
    x_BTD = axes.constrain(x_BTD, axes.HIDDEN, layout)
    angles = _angles(config, positions)
    apply = _apply_block(config, layout, visible)
    if config.unroll:
        x_BTD, cache = _unrolled(params, config, x_BTD, angles, positions, cache, apply)
    else:
        x_BTD, cache = _scanned(params, config, x_BTD, angles, positions, cache, apply)
    norm = layers.RMSNorm(config.norm_eps, config.dtype, config.param_dtype)
    return cast(Array, norm.apply({"params": params["final_norm"]}, x_BTD)), cache


def _angles(config: ModelConfig, positions: Array) -> rope.Rope:
    return rope.angles(positions, config.head_dim, config.rope_theta, config.rope_scaling)


def _window(config: ModelConfig, layer: int | Array) -> layers.Window:
    """How far back this layer sees; a number wherever it does not depend on the layer."""
    if config.sliding_window is None or config.full_attention_layers == 0:
        return config.sliding_window
    everything = jnp.iinfo(jnp.int32).max
    return jnp.where(layer < config.full_attention_layers, everything, config.sliding_window)


def _apply_block(config: ModelConfig, layout: axes.Layout | None, visible: Array | None):
    block = layers.Block(config, layout)

    def apply(block_params, x_BTD, angles, positions, cache, layer):
        window, seen = _window(config, layer), visible
        if seen is not None and window is not None:
            seen &= positions[:, None, :] > positions[:, :, None] - window
        result = block.apply(
            {"params": block_params}, x_BTD, angles, positions, cache, layer, window, seen
        )
        return cast(tuple[Array, Cache | None], result)

    return jax.checkpoint(apply) if config.remat else apply


def _unrolled(params, config, x_BTD, angles, positions, cache, apply):
    for layer, block_params in enumerate(unstack(params, config)["blocks"]):
        x_BTD, cache = apply(block_params, x_BTD, angles, positions, cache, layer)
    return x_BTD, cache


def _scanned(params, config, x_BTD, angles, positions, cache, apply):
    def step(carry, scanned):
        x_BTD, cache = carry
        block_params, layer = scanned
        return apply(block_params, x_BTD, angles, positions, cache, layer), None

    layer_index = jnp.arange(config.num_layers)
    (x_BTD, cache), _ = jax.lax.scan(step, (x_BTD, cache), (params["blocks"], layer_index))
    return x_BTD, cache


def unembed(
    params: Params,
    config: ModelConfig,
    hidden: Float[Array, "*B D"],
) -> Float[Array, "*B V"]:
    """Logits, accumulated and returned in float32."""
    if config.tie_embeddings:
        kernel_DV = params["embed"]["embedding"].astype(config.dtype).T
    else:
        kernel_DV = params["unembed"]["kernel"].astype(config.dtype)
    return jnp.einsum("...D,DV->...V", hidden, kernel_DV, preferred_element_type=jnp.float32)
