"""How far the sampler's log-probs are from the trainer's, measured before each M-step.

Off-policy ratios are exact only if μ, as the sampler stored it, is the policy that the trainer
sees. Other kernels, a narrower cache, adapters merged in few bits, weights that arrived late: each
shows here, on the rollouts that are about to be trained on, while nothing has been updated.
"""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportMissingTypeStubs=false

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from acim_jax.improve import packing
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenBatch, TokenRow
from acim_jax.model import lora, scoring, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes, place

Scalar = Float[Array, ""]
#: Mean |Δ| in nats a token that is allowed where the config does not say: where sampler and trainer
#: both compute in float32, and where one was told to take fewer bits.
LIMITS = (1e-3, 5e-2)


class Mismatch(NamedTuple):
    """Δ = log π − log μ of target tokens: mean and largest |Δ| in nats, the shares of tokens whose
    ratio is off by more than 0.1, 1 and 5 %, and the k3 estimate of KL(μ‖π) in nats a token."""

    mean: float
    largest: float
    off_01: float
    off_1: float
    off_5: float
    kl: float


def measure(
    trained: lora.Params,
    rows: Sequence[TokenRow],
    learner: Learner,
    config: ImproveConfig,
    *,
    temperature: float,
) -> Mismatch | None:
    """Over `rows`, with the parameters as the trainer has them; None without a target token."""
    found = [
        sums(
            trained,
            place.batch(batch, learner.layout),
            np.float32(temperature),
            chunk=config.logprob_chunk,
            **learner.shared,
        )
        for batch in packing.microbatches(rows, config.buckets, config.microbatch_rows)
    ]
    if not found:
        return None
    several = np.array(jax.device_get(found), np.float64)
    total = _Sums(*several.sum(axis=0))
    if not total.targets:
        return None
    largest = float(several[:, _Sums._fields.index("largest")].max())
    share = {
        name: float(getattr(total, name) / total.targets)
        for name in ("off_01", "off_1", "off_5", "kl")
    }
    return Mismatch(mean=float(total.absolute / total.targets), largest=largest, **share)


def limit(config: ImproveConfig, model: ModelConfig, *, int8_cache: bool) -> float:
    """`improve.max_mismatch`, or what stands for it. int8_cache: of the sampler."""
    if config.max_mismatch is not None:
        return config.max_mismatch
    return LIMITS[model.dtype != "float32" or int8_cache]


def check(found: Mismatch | None, limit: float) -> None:
    """RuntimeError for a mean |Δ| above the `limit`: nothing has been updated yet."""
    if found is not None and not found.mean <= limit:
        raise RuntimeError(
            f"The sampler's log-probs differ from the trainer's by {found.mean:.3g} nats a token "
            f"(largest {found.largest:.3g}; {found.off_5:.1%} of the ratios off by more than 5 %), "
            f"and improve.max_mismatch is {limit:g}: off-policy ratios would be wrong. Nothing was "
            "updated. Usual causes: sampling.kv_cache, model.dtype, adapters merged in a "
            "narrow dtype, kernels that differ between sampling and training."
        )


class _Sums(NamedTuple):
    """Of one microbatch, over its target tokens."""

    absolute: Scalar  # Σ |Δ|
    largest: Scalar  # max |Δ|
    off_01: Scalar  # tokens whose ratio π/μ is off by more than 0.1 %
    off_1: Scalar  # … 1 %
    off_5: Scalar  # … 5 %
    kl: Scalar  # Σ (e^Δ − 1 − Δ), the k3 estimate of KL(μ‖π)
    targets: Scalar


@functools.partial(jax.jit, static_argnames=("config", "chunk", "layout"))
def sums(
    params: transformer.Params,
    batch: TokenBatch,
    temperature: Scalar,
    *,
    config: ModelConfig,
    chunk: int = 0,
    layout: axes.Layout | None = None,
    frozen: lora.Frozen | None = None,
) -> _Sums:
    """Sampler against trainer on one microbatch of what is about to be trained on."""
    logprobs = scoring.token_logprobs(
        lora.model_params(params, frozen),
        config,
        batch.token_ids,
        temperature=temperature,
        chunk=chunk,
        layout=layout,
    )
    is_target = batch.weights > 0
    gap = jnp.where(is_target, logprobs - batch.behaviour_logprobs, 0.0)
    off = jnp.abs(jnp.expm1(gap))
    beyond = {
        name: jnp.sum(off > share, dtype=jnp.float32)
        for name, share in (("off_01", 0.001), ("off_1", 0.01), ("off_5", 0.05))
    }
    return _Sums(
        absolute=jnp.sum(jnp.abs(gap)),
        largest=jnp.max(jnp.abs(gap)),
        kl=jnp.sum(jnp.expm1(gap) - gap),
        targets=jnp.sum(is_target, dtype=jnp.float32),
        **beyond,
    )
