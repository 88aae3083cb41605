"""The compiled functions of a training step: gradients are accumulated term by term, then applied.

Each term's loss is already divided by its own global count, so adding the gradients of any split
into microbatches gives the gradient of the whole batch.

`params` is what is trained: the model's parameters or, with `frozen`, the adapters to it. What is
frozen has no gradient and never changes.
"""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportMissingTypeStubs=false

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from acim_jax.improve import objectives
from acim_jax.improve.packing import DecisionBatch, TokenBatch
from acim_jax.improve.state import TrainState
from acim_jax.model import lora, scoring, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes, place

Scalar = Float[Array, ""]


def _jit_term(*static: str):
    """jit for a function that adds to its first argument in place."""
    return functools.partial(
        jax.jit,
        static_argnames=("config", "layout", *static),
        donate_argnames=("gradients",),
    )


class PolicyTerm(NamedTuple):
    loss: Scalar
    sums: objectives.PolicySums


class Applied(NamedTuple):
    state: TrainState
    grad_norm: Scalar


def _as_params(tree: transformer.Params, layout: axes.Layout | None) -> transformer.Params:
    """Gradients are sharded as their parameters are: no device ever holds all of one."""
    if layout is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, place.param_shardings(tree, layout))


@functools.partial(jax.jit, static_argnames=("layout",), keep_unused=True)
def zeros(params: transformer.Params, *, layout: axes.Layout | None = None) -> transformer.Params:
    """A gradient accumulator: float32 whatever the parameters are.

    Its values depend on no argument; keeping the parameters as one commits the result to their
    device, as every later accumulator is. Else each term would be compiled for either kind.
    """
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
    return _as_params(empty, layout)


def _add(
    gradients: transformer.Params, more: transformer.Params, layout: axes.Layout | None
) -> transformer.Params:
    total = jax.tree.map(lambda total, g: total + g.astype(jnp.float32), gradients, more)
    return _as_params(total, layout)


@_jit_term("chunk", "clip_epsilon")
def add_policy_gradient(
    gradients: transformer.Params,
    params: transformer.Params,
    batch: TokenBatch,
    num_targets: Scalar,
    temperature: Scalar,
    *,
    config: ModelConfig,
    clip_epsilon: float,
    chunk: int = 0,
    layout: axes.Layout | None = None,
    frozen: lora.Frozen | None = None,
) -> tuple[transformer.Params, PolicyTerm]:
    """Adds the gradient of the clipped off-policy term of one microbatch."""

    def loss_of(params: transformer.Params) -> tuple[Scalar, objectives.PolicySums]:
        logprobs = scoring.token_logprobs(
            lora.model_params(params, frozen),
            config,
            batch.token_ids,
            temperature=temperature,
            chunk=chunk,
            layout=layout,
        )
        return objectives.clipped_policy_loss(
            logprobs,
            batch.behaviour_logprobs,
            batch.advantages,
            batch.weights,
            num_targets=num_targets,
            clip_epsilon=clip_epsilon,
        )

    (loss, sums), more = jax.value_and_grad(loss_of, has_aux=True)(params)
    return _add(gradients, more, layout), PolicyTerm(loss, sums)


@_jit_term("chunk")
def add_likelihood_gradient(
    gradients: transformer.Params,
    params: transformer.Params,
    batch: TokenBatch,
    total_weight: Scalar,
    coefficient: Scalar,
    *,
    config: ModelConfig,
    chunk: int = 0,
    layout: axes.Layout | None = None,
    frozen: lora.Frozen | None = None,
) -> tuple[transformer.Params, Scalar]:
    """Adds coefficient × the gradient of the demonstrations' negative log-likelihood."""

    def loss_of(params: transformer.Params) -> tuple[Scalar, Scalar]:
        logprobs = scoring.token_logprobs(
            lora.model_params(params, frozen),
            config,
            batch.token_ids,
            chunk=chunk,
            layout=layout,
        )
        loss = objectives.likelihood_loss(logprobs, batch.weights, total_weight=total_weight)
        return coefficient * loss, loss

    (_, loss), more = jax.value_and_grad(loss_of, has_aux=True)(params)
    return _add(gradients, more, layout), loss


@_jit_term("chunk")
def add_decision_gradient(
    gradients: transformer.Params,
    params: transformer.Params,
    batch: DecisionBatch,
    num_problems: Scalar,
    coefficient: Scalar,
    temperature: Scalar,
    *,
    config: ModelConfig,
    chunk: int = 0,
    layout: axes.Layout | None = None,
    frozen: lora.Frozen | None = None,
) -> tuple[transformer.Params, Scalar]:
    """Adds λ × the gradient of the decision cross-entropy, for π at the training temperature."""

    def loss_of(params: transformer.Params) -> tuple[Scalar, Scalar]:
        decision_PC = scoring.decision_logprobs(
            lora.model_params(params, frozen),
            config,
            batch.rows,
            temperature=temperature,
            chunk=chunk,
            layout=layout,
        )
        loss = objectives.decision_cross_entropy(
            decision_PC, batch.strategy, num_problems=num_problems
        )
        return coefficient * loss, loss

    (_, loss), more = jax.value_and_grad(loss_of, has_aux=True)(params)
    return _add(gradients, more, layout), loss


@functools.partial(jax.jit, static_argnames=("optimiser",), donate_argnames=("state",))
def apply(
    state: TrainState,
    gradients: transformer.Params,
    lr: Scalar,
    *,
    optimiser: optax.GradientTransformation,
) -> Applied:
    """One optimiser step; returns the new state and the gradient's norm before clipping."""
    updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: (p - lr * u).astype(p.dtype), state.params, updates)
    return Applied(TrainState(params, opt_state, state.step + 1), optax.tree.norm(gradients))
