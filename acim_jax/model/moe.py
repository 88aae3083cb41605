"""Mixture of experts without capacity: every token gets all the experts that its router chose.

What a token gets depends on nothing but itself: no expert is ever full, whatever else is in the
batch. Training adds no load-balancing loss; the router learns from the loss alone.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from acim_jax.model.config import Experts
from acim_jax.sharding import axes


class Choice(NamedTuple):
    """The experts of each token, and their weights (C of E per token, float32)."""

    experts: Int[Array, "B T C"]
    shares: Float[Array, "B T C"]


class Weights(NamedTuple):
    """One layer's experts."""

    gate: Float[Array, "E D F"]
    up: Float[Array, "E D F"]
    down: Float[Array, "E F D"]


def route(x_BTD: Array, router_DE: Array, config: Experts) -> Choice:
    """The `per_token` experts of the highest softmax(x W_router), computed in float32."""
    logits = jnp.einsum("BTD,DE->BTE", x_BTD, router_DE, preferred_element_type=jnp.float32)
    shares, experts = jax.lax.top_k(jax.nn.softmax(logits, axis=-1), config.per_token)
    if config.normalize:
        shares = shares / jnp.sum(shares, axis=-1, keepdims=True)
    return Choice(experts, shares)


def mix(
    x_BTD: Float[Array, "B T D"], choice: Choice, weights: Weights, layout: axes.Layout | None
) -> Float[Array, "B T D"]:
    """Σ_c share_c · expert_c(x), summed in float32.

    On a mesh each device computes what its own experts (or its part of their width) add to the
    tokens it holds; the parts are then summed. No token travels. ValueError if the layout splits
    tokens over the same mesh axes.
    """
    if layout is None:
        return _mix_own(x_BTD, choice, weights, 0).astype(x_BTD.dtype)
    layout.spec(("batch", "sequence", "expert", "expert_mlp"))  # no mesh axis serves twice
    # PartitionSpecs stand where the arrays will.
    tokens: Any = layout.spec(("batch", "sequence"))
    wide: Any = layout.spec(("expert", "activation_embed", "expert_mlp"))
    narrow: Any = layout.spec(("expert", "expert_mlp", "activation_embed"))
    summed = functools.partial(_mix_and_sum, layout=layout, count=weights.gate.shape[0])
    return jax.shard_map(
        summed,
        mesh=layout.mesh,
        in_specs=(tokens, Choice(tokens, tokens), Weights(wide, wide, narrow)),
        out_specs=tokens,
    )(x_BTD, choice, weights)


def _mix_and_sum(x_BTD, choice: Choice, weights: Weights, *, layout: axes.Layout, count: int):
    """The device's share of `mix`, and the sum of all of them."""
    over = layout.mesh_axes("expert", "expert_mlp")
    own = weights.gate.shape[0]
    first = jax.lax.axis_index(layout.mesh_axes("expert")) * own if own < count else 0
    # Said before the tokens are picked: jax 0.10's gradient of x[indices] is wrong where the
    # devices share x but not the indices.
    x_BTD = jax.lax.pcast(x_BTD, over, to="varying")
    return jax.lax.psum(_mix_own(x_BTD, choice, weights, first), over).astype(x_BTD.dtype)


def _mix_own(
    x_BTD: Array, choice: Choice, weights: Weights, first: int | Array
) -> Float[Array, "B T D"]:
    """`mix` over the experts `first`, first + 1, … that `weights` holds; float32.

    Each token is repeated for each of its experts and the copies are sorted by expert, so that
    one ragged product a matrix computes all; copies for experts held elsewhere come last, where
    no group reaches.
    """
    E, D = weights.gate.shape[:2]
    C = choice.experts.shape[-1]
    group_R = (choice.experts - first).reshape(-1)
    group_R = jnp.where((group_R >= 0) & (group_R < E), group_R, E)
    order_R = jnp.argsort(group_R)
    sizes_E = jnp.zeros(E, jnp.int32).at[group_R].add(1, mode="drop")
    x_RD = x_BTD.reshape(-1, D)[order_R // C]
    gate_RF = jax.nn.silu(jax.lax.ragged_dot(x_RD, weights.gate, sizes_E))
    gate_RF = gate_RF * jax.lax.ragged_dot(x_RD, weights.up, sizes_E)
    out_RD = jax.lax.ragged_dot(gate_RF, weights.down, sizes_E)
    # Where no group reaches, the product's rows are not defined.
    out_RD = jnp.where((group_R[order_R] < E)[:, None], out_RD.astype(jnp.float32), 0.0)
    back_R = jnp.argsort(order_R)
    out_BTCD = out_RD[back_R].reshape(*choice.experts.shape, D)
    return jnp.einsum("BTCD,BTC->BTD", out_BTCD, choice.shares)
