"""π̂(c|x): how likely the policy is to answer with text or with code.

The paper's normalisation is not recoverable. Estimators share the signature
(params, prompts, …) -> `PolicyEstimate`; `prefix` is the one that exists. `frequency` and `hazard`
of docs/method.md belong beside it.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from acim_jax.model import scoring, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes


class PolicyEstimate(NamedTuple):
    """policy [P, C]: rows sum to 1. mass [P]: Σ_c exp ℓ_c, the share that lies on any prefix."""

    policy: np.ndarray
    mass: np.ndarray


class PrefixRows(NamedTuple):
    """Prompt + prefix of each (problem, decision, prefix); `improve.packing.decision_batch`."""

    token_ids: np.ndarray  # [P, C, K, T]
    is_prefix: np.ndarray  # [P, C, K, T]


@functools.partial(jax.jit, static_argnames=("config", "chunk", "layout"))
def _prefix_logprobs(
    params: transformer.Params,
    token_ids: jax.Array,
    is_prefix: jax.Array,
    temperature: jax.Array,
    *,
    config: ModelConfig,
    chunk: int,
    layout: axes.Layout | None,
) -> jax.Array:
    logprobs_PC = scoring.decision_logprobs(
        params, config, token_ids, is_prefix, temperature=temperature, chunk=chunk, layout=layout
    )
    # Whole on every device: each process of a job reads all of it.
    return axes.constrain(logprobs_PC, (), layout)


def prefix_policy(
    params: transformer.Params,
    batches: Sequence[PrefixRows],
    config: ModelConfig,
    *,
    temperature: float = 1.0,
    chunk: int = 0,
    layout: axes.Layout | None = None,
) -> PolicyEstimate:
    """softmax_c of ℓ_c = logsumexp_{p ∈ P_c} log π(p|x), by teacher forcing: no rollouts.

    Normalising hides how much probability lies on neither prefix, so the mass is returned too.
    All batches must have the same shape; the caller cuts off padding rows. chunk: columns of logits
    held at once (0: all).
    """
    logprobs = [
        _prefix_logprobs(
            params,
            batch.token_ids,
            batch.is_prefix,
            np.float32(temperature),
            config=config,
            chunk=chunk,
            layout=layout,
        )
        for batch in batches
    ]
    decision_PC = np.concatenate(jax.device_get(logprobs)).astype(np.float64)
    probability_PC = np.exp(decision_PC)
    shifted = np.exp(decision_PC - decision_PC.max(axis=1, keepdims=True))
    return PolicyEstimate(shifted / shifted.sum(axis=1, keepdims=True), probability_PC.sum(axis=1))
