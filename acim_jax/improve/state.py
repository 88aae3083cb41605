"""What training changes: parameters, the optimiser's moments, and the number of steps made."""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportMissingTypeStubs=false

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.model import transformer
from acim_jax.sharding import axes, place


class TrainState(NamedTuple):
    """A pytree; checkpoints hold exactly this. params: what is trained: the model's parameters, or
    the adapters of a LoRA run."""

    params: transformer.Params
    opt_state: optax.OptState
    step: Int[Array, ""]


def optimizer(config: ImproveConfig | WarmupConfig) -> optax.GradientTransformation:
    """AdamW's direction (arXiv:1711.05101) on clipped gradients; the step multiplies by −lr.

    The learning rate is an argument of the step, so that a schedule never recompiles it; and equal
    settings give the same object, so that stages share the compiled step. Weight decay leaves
    vectors (norms and biases) alone. Moments are float32 whatever the parameters are.
    """
    return _adamw(config.b1, config.b2, config.weight_decay, config.max_grad_norm)


@functools.cache
def _adamw(
    b1: float, b2: float, weight_decay: float, max_grad_norm: float
) -> optax.GradientTransformation:
    adam = optax.scale_by_adam(b1=b1, b2=b2)

    def init_float32(params: optax.Params) -> optax.OptState:
        return adam.init(jax.tree.map(lambda x: x.astype(jnp.float32), params))

    def is_matrix(params: transformer.Params) -> transformer.Params:
        def leaf(path: tuple[object, ...], _: jax.Array) -> bool:
            # By name: stacked biases [L, N, H] have as many axes as matrices.
            name = place.path_name(path).rpartition("/")[2]
            return name != "scale" and not name.startswith("b_")

        return jax.tree_util.tree_map_with_path(leaf, params)

    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm),
        optax.GradientTransformation(init_float32, adam.update),
        optax.add_decayed_weights(weight_decay, mask=is_matrix),
    )


def create(
    params: transformer.Params,
    optimiser: optax.GradientTransformation,
    layout: axes.Layout | None = None,
) -> TrainState:
    """A fresh state; moments are sharded as their parameters are."""
    if layout is None:
        # Committed to a device like the parameters, as every later state is: a state that differs
        # only in this would compile its functions a second time.
        fresh = (jax.jit(optimiser.init)(params), jnp.zeros((), jnp.int32))
        return TrainState(params, *jax.device_put(fresh, place.device_of(params)))
    planned = shardings(params, optimiser, layout)
    init = jax.jit(optimiser.init, out_shardings=planned.opt_state)
    step = jax.device_put(jnp.zeros((), jnp.int32), planned.step)
    return TrainState(params, init(params), step)


def abstract(
    params: transformer.Params,
    optimiser: optax.GradientTransformation,
    layout: axes.Layout | None = None,
) -> TrainState:
    """Shapes, dtypes and shardings of the state that `create` makes of such parameters; without a
    layout no shardings. params: arrays or shapes."""
    shapes = TrainState(
        jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params),
        jax.eval_shape(optimiser.init, params),
        cast(Any, jax.ShapeDtypeStruct((), jnp.int32)),
    )
    if layout is None:
        return shapes
    return place.shapes(shapes, shardings(params, optimiser, layout))


def shardings(
    params: transformer.Params, optimiser: optax.GradientTransformation, layout: axes.Layout
) -> TrainState:
    """A TrainState of shardings: the moments' are those of their parameters."""
    of_params = place.param_shardings(params, layout)
    whole = place.replicated(layout)
    of_moments = optax.tree_map_params(
        optimiser,
        lambda _, sharding: sharding,
        jax.eval_shape(optimiser.init, params),
        of_params,
        transform_non_params=lambda _: whole,
    )
    return TrainState(of_params, of_moments, cast(Any, whole))
