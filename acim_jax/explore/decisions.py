"""π̂(c|x): how likely the policy is to answer with text or with code, by three estimators.

The paper's normalisation is not recoverable. `prefix` compares the probabilities of the decision
prefixes and has a gradient, so the cross-entropy of the M-step always acts on it. `frequency`
counts what native rollouts did, `hazard` (`explore/hazard.py`) what text could have turned into.
"""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportMissingTypeStubs=false

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from acim_jax.markup.prefix_rows import PrefixEncoder, PrefixRows
from acim_jax.model import scoring, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.records import DECISIONS, Episode, Problem, Stop, group_by
from acim_jax.sharding import axes, place

#: The most problems that are scored at once. Batches are powers of two up to it, so that a few
#: compiled functions serve any number of problems.
BATCH_PROBLEMS = 32
#: Pseudo-rollouts of each decision in `frequency` (Laplace's rule).
PSEUDO_COUNT = 1.0


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
    kept: list[int] = []
    logprobs: list[jax.Array] = []
    at = 0
    for size in batch_sizes(len(problems)):
        some = problems[at : at + size]
        rows = encoder.rows(some, size)
        logprobs.append(
            decision_logprobs(
                params,
                place.batch(rows, layout),
                np.float32(temperature),
                config=config,
                chunk=chunk,
                layout=layout,
            )
        )
        kept.append(len(some))
        at += size
    found = zip(jax.device_get(logprobs), kept, strict=True)
    # The last batch may be padded, and each may be for the shards.
    return _normalised(np.concatenate([one[:n] for one, n in found]).astype(np.float64))


def batch_sizes(problems: int) -> Iterator[int]:
    """Whole batches, and for the rest the smallest power of two that holds it."""
    yield from [BATCH_PROBLEMS] * (problems // BATCH_PROBLEMS)
    if rest := problems % BATCH_PROBLEMS:
        yield 1 << (rest - 1).bit_length()


def _normalised(decision_PC: np.ndarray) -> PolicyEstimate:
    shifted = np.exp(decision_PC - decision_PC.max(axis=1, keepdims=True))
    mass = np.exp(decision_PC).sum(axis=1)
    return PolicyEstimate(shifted / shifted.sum(axis=1, keepdims=True), mass)


@functools.partial(jax.jit, static_argnames=("config", "chunk", "layout"))
def decision_logprobs(
    params: transformer.Params,
    rows: PrefixRows,
    temperature: jax.Array,
    *,
    config: ModelConfig,
    chunk: int,
    layout: axes.Layout | None,
) -> jax.Array:
    """ℓ_c of `prefix_policy` [P, C], for one batch of `BATCH_PROBLEMS`."""
    logprobs_PC = scoring.decision_logprobs(
        params, config, rows, temperature=temperature, chunk=chunk, layout=layout
    )
    # Whole on every device: each process of a job reads all of it.
    return axes.constrain(logprobs_PC, (), layout)


def frequency_policy(problems: Sequence[Problem], episodes: Sequence[Episode]) -> np.ndarray:
    """[P, C]: the share of a problem's native rollouts that made each decision, smoothed by
    `PSEUDO_COUNT`; 1/C each for a problem without native rollouts. It has no gradient."""
    natives = [e for e in episodes if e.guide == "native" and e.stop is not Stop.INFRA]
    groups = group_by(natives, lambda e: e.problem_id)
    counts_PC = np.full((len(problems), len(DECISIONS)), PSEUDO_COUNT)
    for i, problem in enumerate(problems):
        for episode in groups.get(problem.id, []):
            counts_PC[i, DECISIONS.index(episode.decision)] += 1
    return counts_PC / counts_PC.sum(axis=1, keepdims=True)
