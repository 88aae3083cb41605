"""The decoder: pure functions over a plain parameter dict with stacked layers `[L, …]`.

    hidden, cache = forward(params, config, token_ids, positions, cache)
    logits        = unembed(params, config, hidden)

Blocks are Flax linen modules (`model/layers.py`), initialised under `vmap` so that layers are
stacked, and applied under `lax.scan` or in a Python loop (`config.unroll`). Decoding on a CPU has
the layers apart, in an order of its own (`for_sampling`).
"""

import functools
import math
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from acim_jax.model import layers, rope
from acim_jax.model.cache import Cache
from acim_jax.model.config import PROJECTIONS, ModelConfig
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


def for_sampling(params: Params, config: ModelConfig, layout: axes.Layout | None = None) -> Params:
    """The parameters in the activations' dtype, to which each use of one converts it anyway, and
    beside them `decode_params` where decoding goes by layers.

    Decoding reads every weight for every token: it should not read float32 to compute in bfloat16,
    nor copy a layer out of the stack before it multiplies. Parameters that have the dtype already
    are the same arrays.
    """
    leaves, tree = jax.tree.flatten(params)
    is_there = [x.dtype == config.dtype for x in leaves]
    others = [x for x, there in zip(leaves, is_there, strict=True) if not there]
    converted = iter(_converted(others, config.dtype) if others else ())
    leaves = [x if there else next(converted) for x, there in zip(leaves, is_there, strict=True)]
    params = jax.tree.unflatten(tree, leaves)
    (device, *_) = leaves[0].devices()
    if not decodes_by_layers(config, layout, device.platform):
        return params
    return params | decode_params(params, config)


def decodes_by_layers(config: ModelConfig, layout: axes.Layout | None, platform: str) -> bool:
    """Whether decoding has every layer's weights apart: in float32 on a CPU without a mesh, unless
    `unroll` is False."""
    alone = layout is None and platform == "cpu" and config.dtype == "float32"
    return alone and config.unroll is not False


def decode_params(params: Params, config: ModelConfig) -> Params:
    """Copies for decoding, beside the stack that prefill scans.

    layers: a tree for each, of which every projection is the matrix [outputs, inputs], under
    `w_…_rows`. unembed/rows [V, D]: an output matrix that is not the embeddings.
    """
    layers_ = tuple(_layer(params["blocks"], jnp.int32(i)) for i in range(config.num_layers))
    if config.tie_embeddings:
        return {"layers": layers_}
    rows_VD = _transposed(params["unembed"]["kernel"])
    return {"layers": layers_, "unembed": params["unembed"] | {"rows": rows_VD}}


_transposed = jax.jit(jnp.transpose)


@jax.jit
def _layer(blocks: Params, layer: Int[Array, ""]) -> Params:
    own = jax.tree.map(lambda x: x[layer], blocks)
    for group, name, inputs in PROJECTIONS.values():
        if group in own:
            w = own[group].pop(name)
            own[group][f"{name}_rows"] = w.reshape(math.prod(w.shape[:inputs]), -1).T
    return own


@functools.partial(jax.jit, static_argnames=("dtype",))
def _converted(arrays: list[jax.Array], dtype: str) -> list[jax.Array]:
    return [x.astype(dtype) for x in arrays]


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
    if "layers" in params and token_ids.shape[1] == 1:
        x_BTD, cache = _looped(params["layers"], x_BTD, angles, positions, cache, apply)
    elif config.unroll:
        blocks = _unstacked(params["blocks"], config)
        x_BTD, cache = _looped(blocks, x_BTD, angles, positions, cache, apply)
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


def _unstacked(blocks: Params, config: ModelConfig) -> list[Params]:
    return [jax.tree.map(lambda x, i=i: x[i], blocks) for i in range(config.num_layers)]


def _looped(blocks, x_BTD, angles, positions, cache, apply):
    for layer, block_params in enumerate(blocks):
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
    if "layers" in params and hidden.ndim == 2:
        tied = config.tie_embeddings
        rows_VD = params["embed"]["embedding"] if tied else params["unembed"]["rows"]
        return layers.stream(hidden, rows_VD, jnp.dtype(jnp.float32))
    if config.tie_embeddings:
        kernel_DV = params["embed"]["embedding"].astype(config.dtype).T
    else:
        kernel_DV = params["unembed"]["kernel"].astype(config.dtype)
    return jnp.einsum("...D,DV->...V", hidden, kernel_DV, preferred_element_type=jnp.float32)
