"""The M-step: a host loop that feeds the compiled functions of `step.py`."""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from acim_jax import rng
from acim_jax.improve import mismatch, objectives, packing, step
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.mismatch import Mismatch
from acim_jax.improve.packing import DecisionBatch, TokenBatch, TokenRow
from acim_jax.improve.state import TrainState
from acim_jax.improve.training_set import TrainingSet
from acim_jax.sharding import place


class FitMetrics(NamedTuple):
    """Of one M-step. Losses are means over the optimiser steps that had the term; ratio, clip
    fraction and KL are means over target tokens. skipped_steps: their gradients were not finite.
    mismatch: as of `mismatch.Mismatch`, on the first minibatch before any update. None where there
    was nothing."""

    policy_loss: float | None
    decision_loss: float | None
    replay_loss: float | None
    ratio_mean: float | None
    clip_fraction: float | None
    kl: float | None
    target_tokens: float
    steps: float
    grad_norm: float | None
    skipped_steps: float
    mismatch: float | None
    mismatch_largest: float | None
    mismatch_off_01: float | None
    mismatch_off_1: float | None
    mismatch_off_5: float | None
    mismatch_kl: float | None
    lr: float


#: What the terms of one optimiser step measured, still on the device, microbatch by microbatch.
_Terms = dict[str, list[Any]]


def learning_rate(config: ImproveConfig, progress: float) -> float:
    """Linear from lr at progress 0 to lr·final_lr_fraction at progress 1."""
    return config.lr * (1.0 + (config.final_lr_fraction - 1.0) * progress)


def improve(
    state: TrainState,
    data: TrainingSet,
    learner: Learner,
    config: ImproveConfig,
    *,
    seed: int,
    iteration: int,
    lr: float,
) -> tuple[TrainState, FitMetrics]:
    """One M-step: `epochs` passes over the rows in `minibatches` optimiser steps each.

    Minibatches are drawn from (seed, iteration, epoch), so a resumed run sees the same ones. An
    optimiser step that no term has anything for is left out; one whose gradient is not finite
    changes nothing. RuntimeError where none of them was finite, and for log-probs of the sampler
    that are not the trainer's (`mismatch.check`).
    """
    measured: list[_Terms] = []
    norms: list[jax.Array] = []
    gap: Mismatch | None = None
    for epoch in range(config.epochs):
        order = rng.host(seed, iteration, "minibatches", epoch).permutation(len(data.rows))
        for nth, chosen in enumerate(np.array_split(order, config.minibatches)):
            rows = [data.rows[i] for i in chosen]
            if epoch == nth == 0:
                gap = mismatch.measure(
                    state.params, rows, learner, config, temperature=data.temperature
                )
                mismatch.check(gap, config, learner.model)
            batches = [*_batches(data, epoch * config.minibatches + nth, rows, config)]
            if not batches:
                continue
            gradients = step.zeros(state.params, layout=learner.layout)
            terms: _Terms = {"policy": [], "replay": [], "decision": []}
            for name, add_gradient, batch, numbers in batches:
                gradients, term = add_gradient(
                    gradients,
                    state.params,
                    place.batch(batch, learner.layout),
                    *numbers,
                    chunk=config.logprob_chunk,
                    **learner.shared,
                )
                terms[name].append(term)
            state, norm = step.apply(state, gradients, np.float32(lr), optimiser=learner.optimiser)
            measured.append(terms)
            norms.append(norm)
    return state, _summary(jax.device_get(measured), jax.device_get(norms), gap, lr)


def _batches(
    data: TrainingSet, at: int, rows: Sequence[TokenRow], config: ImproveConfig
) -> Iterator[tuple[str, Callable[..., Any], TokenBatch | DecisionBatch, Sequence[np.float32]]]:
    """Optimiser step `at`: term, function, microbatch and numbers of each gradient to add."""
    temperature = np.float32(data.temperature)
    add_policy = functools.partial(step.add_policy_gradient, clip_epsilon=config.clip_epsilon)
    num_targets = np.float32(max(sum(row.num_targets for row in rows), 1))
    for batch in packing.microbatches(rows, config.buckets, config.microbatch_rows):
        yield "policy", add_policy, batch, (num_targets, temperature)
    replay = data.replay[at] if data.replay else ()
    weight = np.float32(config.replay_weight)
    total_weight = np.float32(max(sum(float(row.weights.sum()) for row in replay), 1e-9))
    for batch in packing.microbatches(replay, config.buckets, config.microbatch_rows):
        yield "replay", step.add_likelihood_gradient, batch, (total_weight, weight)
    batch, num_problems = data.decisions[at] if data.decisions else (None, 0)
    if batch is not None and num_problems:
        numbers = (np.float32(num_problems), np.float32(config.decision_weight), temperature)
        yield "decision", step.add_decision_gradient, batch, numbers


def _summary(
    measured: Sequence[_Terms], norms: Sequence[np.ndarray], gap: Mismatch | None, lr: float
) -> FitMetrics:
    def mean_of_steps(parts: list[list[Any]]) -> float | None:
        totals = [float(np.sum(part)) for part in parts if part]
        return float(np.mean(totals)) if totals else None

    finite = [float(norm) for norm in norms if np.isfinite(norm)]
    if norms and not finite:
        raise RuntimeError(
            f"None of the iteration's {len(norms)} optimiser steps had a finite gradient; nothing "
            "was updated. Lower improve.lr, or compute in float32 (model.dtype)."
        )
    policy = [term for terms in measured for term in terms["policy"]]
    fields = objectives.PolicySums._fields
    totals = np.sum([term.sums for term in policy], axis=0) if policy else np.zeros((len(fields),))
    total: dict[str, float] = dict(zip(fields, totals.tolist(), strict=True))
    count = total["targets"]
    per_target = lambda name: total[name] / count if count else None  # noqa: E731
    return FitMetrics(
        policy_loss=mean_of_steps([[term.loss for term in terms["policy"]] for terms in measured]),
        decision_loss=mean_of_steps([terms["decision"] for terms in measured]),
        replay_loss=mean_of_steps([terms["replay"] for terms in measured]),
        ratio_mean=per_target("ratio"),
        clip_fraction=per_target("clipped"),
        kl=per_target("kl"),
        target_tokens=count,
        steps=float(len(norms)),
        grad_norm=float(np.mean(finite)) if finite else None,
        skipped_steps=float(len(norms) - len(finite)),
        mismatch=None if gap is None else gap.mean,
        mismatch_largest=None if gap is None else gap.largest,
        mismatch_off_01=None if gap is None else gap.off_01,
        mismatch_off_1=None if gap is None else gap.off_1,
        mismatch_off_5=None if gap is None else gap.off_5,
        mismatch_kl=None if gap is None else gap.kl,
        lr=lr,
    )
