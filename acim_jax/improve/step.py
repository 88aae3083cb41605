"""The compiled functions of a training step: gradients are accumulated term by term, then applied.

Each term's loss is already divided by a count that the caller states, so adding the gradients of
any split into microbatches gives the gradient of the whole batch.

`params` is what is trained: the model's parameters or, with `frozen`, the adapters to it. What is
frozen has no gradient and never changes.
"""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from acim_jax.improve import objectives
from acim_jax.improve.config import PolicyObjective
from acim_jax.improve.packing import DecisionBatch, TokenBatch
from acim_jax.improve.state import TrainState
from acim_jax.model import lora, scoring, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes, place

Scalar = Float[Array, ""]
#: score(function of `scoring`, a batch's arrays) of the model whose gradient is taken.
Score = Callable[..., Any]


class PolicyTerm(NamedTuple):
    """loss: without reference and entropy."""

    loss: Scalar
    sums: objectives.PolicySums


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


@jax.jit
def norm(gradients: transformer.Params) -> Scalar:
    """Euclidean, over all leaves."""
    return optax.tree.norm(gradients)


def _adding_gradient_of(
    loss_of: Callable[..., tuple[Scalar, Any]], *static: str
) -> jax.stages.Wrapped:
    """The compiled function that adds the gradient of a term to `gradients`, in place.

    loss_of(score, batch, *numbers) gives what is differentiated and what is returned beside the
    gradients.
    """

    def add(
        gradients: transformer.Params,
        params: transformer.Params,
        batch: TokenBatch | DecisionBatch,
        *numbers: Scalar,
        config: ModelConfig,
        chunk: int = 0,
        layout: axes.Layout | None = None,
        frozen: lora.Frozen | None = None,
        **settings: PolicyObjective,
    ) -> tuple[transformer.Params, Any]:
        def of(params: transformer.Params) -> tuple[Scalar, Any]:
            whole = lora.model_params(params, frozen)

            def score(by: Callable[..., Any], *arrays: Any, **temperature: Scalar) -> Any:
                return by(whole, config, *arrays, chunk=chunk, layout=layout, **temperature)

            return loss_of(score, batch, *numbers, **settings)

        (_, term), more = jax.value_and_grad(of, has_aux=True)(params)
        total = jax.tree.map(lambda total, g: total + g.astype(jnp.float32), gradients, more)
        return _as_params(total, layout), term

    add.__name__ = f"add{loss_of.__name__}_gradient"  # as compilers and profilers show it
    static = ("config", "chunk", "layout", *static)
    return jax.jit(add, static_argnames=static, donate_argnames=("gradients",))


def _policy(
    score: Score,
    batch: TokenBatch,
    denominator: Scalar,
    temperature: Scalar,
    *,
    objective: PolicyObjective,
) -> tuple[Scalar, PolicyTerm]:
    """The policy term of one microbatch, with the reference's and the entropy's part."""
    scored_by = scoring.token_logprobs
    if objective.entropy_weight > 0:
        scored_by = scoring.token_logprobs_and_entropies
    found = score(scored_by, batch.token_ids, temperature=temperature)
    logprobs, entropies = found if objective.entropy_weight > 0 else (found, None)
    losses, sums = objectives.policy_loss(
        logprobs, batch, entropies, objective=objective, denominator=denominator
    )
    return losses.total, PolicyTerm(losses.policy, sums)


def _likelihood(
    score: Score, batch: TokenBatch, total_weight: Scalar, coefficient: Scalar
) -> tuple[Scalar, Scalar]:
    """coefficient × the demonstrations' negative log-likelihood."""
    logprobs = score(scoring.token_logprobs, batch.token_ids)
    loss = objectives.likelihood_loss(logprobs, batch.weights, total_weight=total_weight)
    return coefficient * loss, loss


def _decision(
    score: Score,
    batch: DecisionBatch,
    num_problems: Scalar,
    coefficient: Scalar,
    temperature: Scalar,
) -> tuple[Scalar, Scalar]:
    """λ × the decision cross-entropy, for π at the training temperature."""
    decision_PC = score(scoring.decision_logprobs, batch.rows, temperature=temperature)
    loss = objectives.decision_cross_entropy(decision_PC, batch.strategy, num_problems=num_problems)
    return coefficient * loss, loss


add_policy_gradient = _adding_gradient_of(_policy, "objective")
add_likelihood_gradient = _adding_gradient_of(_likelihood)
add_decision_gradient = _adding_gradient_of(_decision)


@functools.partial(jax.jit, static_argnames=("optimiser",), donate_argnames=("state",))
def apply(
    state: TrainState,
    gradients: transformer.Params,
    lr: Scalar,
    *,
    optimiser: optax.GradientTransformation,
) -> tuple[TrainState, Scalar]:
    """One optimiser step; returns the new state and the gradient's norm before clipping.

    A gradient that is not finite changes nothing: the state is the old one, the norm says why.
    """
    size = optax.tree.norm(gradients)
    updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: (p - lr * u).astype(p.dtype), state.params, updates)
    stepped = TrainState(params, opt_state, state.step + 1)
    is_finite = jnp.isfinite(size)
    return jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), stepped, state), size
