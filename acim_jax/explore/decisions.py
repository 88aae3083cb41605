"""π̂(c|x): how likely the policy is to answer with text or with code.

The paper's normalisation is not recoverable. `prefix` is the one estimator that exists; `frequency`
and `hazard` of docs/method.md belong beside it.
"""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportMissingTypeStubs=false

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from acim_jax.markup.prefix_rows import PrefixEncoder
from acim_jax.model import scoring, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.records import DECISIONS, Problem
from acim_jax.sharding import axes, place

#: Problems that are scored at once, so that one compiled function serves any number of them.
BATCH_PROBLEMS = 32


class PolicyEstimate(NamedTuple):
    """policy [P, C]: rows sum to 1. mass [P]: Σ_c exp ℓ_c, the share that lies on any prefix."""

    policy: np.ndarray
    mass: np.ndarray

    @property
    def code(self) -> np.ndarray:
        """π̂(code|x), [P]."""
        return self.policy[:, DECISIONS.index("code")]


def prefix_policy(
    params: transformer.Params,
    problems: Sequence[Problem],
    encoder: PrefixEncoder,
    config: ModelConfig,
    *,
    temperature: float = 1.0,
    chunk: int = 0,
    layout: axes.Layout | None = None,
) -> PolicyEstimate:
    """softmax_c of ℓ_c = logsumexp_{p ∈ P_c} log π(p|x), by teacher forcing: no rollouts.

    Normalising hides how much probability lies on neither prefix, so the mass is returned too.
    params: the model's, in the training layout. chunk: columns of logits held at once (0: all).
    """
    if not problems:
        return PolicyEstimate(np.zeros((0, len(DECISIONS))), np.zeros((0,)))
    logprobs = []
    for at in range(0, len(problems), BATCH_PROBLEMS):
        rows = encoder.rows(problems[at : at + BATCH_PROBLEMS], BATCH_PROBLEMS)
        logprobs.append(
            decision_logprobs(
                params,
                *place.batch(rows, layout),
                np.float32(temperature),
                config=config,
                chunk=chunk,
                layout=layout,
            )
        )
    # The encoder may have padded each batch for its shards, and has padded the last one.
    decision_PC = np.concatenate([one[:BATCH_PROBLEMS] for one in jax.device_get(logprobs)])
    return _normalised(decision_PC[: len(problems)].astype(np.float64))


def _normalised(decision_PC: np.ndarray) -> PolicyEstimate:
    shifted = np.exp(decision_PC - decision_PC.max(axis=1, keepdims=True))
    mass = np.exp(decision_PC).sum(axis=1)
    return PolicyEstimate(shifted / shifted.sum(axis=1, keepdims=True), mass)


@functools.partial(jax.jit, static_argnames=("config", "chunk", "layout"))
def decision_logprobs(
    params: transformer.Params,
    token_ids: jax.Array,
    is_prefix: jax.Array,
    temperature: jax.Array,
    *,
    config: ModelConfig,
    chunk: int,
    layout: axes.Layout | None,
) -> jax.Array:
    """ℓ_c of `prefix_policy` [P, C], for one batch of `BATCH_PROBLEMS`."""
    logprobs_PC = scoring.decision_logprobs(
        params, config, token_ids, is_prefix, temperature=temperature, chunk=chunk, layout=layout
    )
    # Whole on every device: each process of a job reads all of it.
    return axes.constrain(logprobs_PC, (), layout)
