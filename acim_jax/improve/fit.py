"""The M-step: a host loop that feeds the compiled functions of `step.py`."""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportMissingTypeStubs=false

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from acim_jax import rng
from acim_jax.improve import objectives, packing, step
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import DecisionBatch, TokenRow
from acim_jax.improve.state import TrainState
from acim_jax.improve.training_set import TrainingSet
from acim_jax.sharding import place


class FitMetrics(NamedTuple):
    """Of one M-step. Losses are means over the optimiser steps that had the term; ratio, clip
    fraction and KL are means over target tokens. None where there was nothing."""

    policy_loss: float | None
    decision_loss: float | None
    replay_loss: float | None
    ratio_mean: float | None
    clip_fraction: float | None
    kl: float | None
    target_tokens: float
    steps: float
    grad_norm: float | None
    lr: float


class _StepRecord(NamedTuple):
    """What one optimiser step measured, still on the device."""

    policy: list[step.PolicyTerm]
    decision_loss: list[jax.Array]
    replay_loss: list[jax.Array]
    grad_norm: jax.Array


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
    optimiser step that no term has anything for is left out.
    """
    records: list[_StepRecord] = []
    for epoch in range(config.epochs):
        order = rng.host(seed, iteration, "minibatches", epoch).permutation(len(data.rows))
        for nth, chosen in enumerate(np.array_split(order, config.minibatches)):
            at = epoch * config.minibatches + nth
            rows = [data.rows[i] for i in chosen]
            decisions = data.decisions[at] if data.decisions else None
            replay = data.replay[at] if data.replay else ()
            if not rows and not replay and (decisions is None or decisions[1] == 0):
                continue
            gradients = step.zeros(state.params, layout=learner.layout)
            gradients, policy = _add_policy(
                gradients, state, rows, data.temperature, learner, config
            )
            gradients, replayed = _add_replay(gradients, state, replay, learner, config)
            gradients, decided = _add_decisions(
                gradients, state, decisions, data.temperature, learner, config
            )
            applied = step.apply(state, gradients, np.float32(lr), optimiser=learner.optimiser)
            state = applied.state
            records.append(_StepRecord(policy, decided, replayed, applied.grad_norm))
    return state, _summary(records, lr)


def _add_policy(
    gradients: Any,
    state: TrainState,
    rows: Sequence[TokenRow],
    temperature: float,
    learner: Learner,
    config: ImproveConfig,
) -> tuple[Any, list[step.PolicyTerm]]:
    terms: list[step.PolicyTerm] = []
    num_targets = np.float32(max(sum(row.num_targets for row in rows), 1))
    for batch in packing.microbatches(rows, config.buckets, config.microbatch_rows):
        gradients, term = step.add_policy_gradient(
            gradients,
            state.params,
            place.batch(batch, learner.layout),
            num_targets,
            np.float32(temperature),
            clip_epsilon=config.clip_epsilon,
            chunk=config.logprob_chunk,
            **learner.shared,
        )
        terms.append(term)
    return gradients, terms


def _add_replay(
    gradients: Any,
    state: TrainState,
    rows: Sequence[TokenRow],
    learner: Learner,
    config: ImproveConfig,
) -> tuple[Any, list[jax.Array]]:
    losses: list[jax.Array] = []
    total_weight = np.float32(max(sum(float(row.weights.sum()) for row in rows), 1e-9))
    for batch in packing.microbatches(rows, config.buckets, config.microbatch_rows):
        gradients, loss = step.add_likelihood_gradient(
            gradients,
            state.params,
            place.batch(batch, learner.layout),
            total_weight,
            np.float32(config.replay_weight),
            chunk=config.logprob_chunk,
            **learner.shared,
        )
        losses.append(loss)
    return gradients, losses


def _add_decisions(
    gradients: Any,
    state: TrainState,
    decisions: tuple[DecisionBatch, int] | None,
    temperature: float,
    learner: Learner,
    config: ImproveConfig,
) -> tuple[Any, list[jax.Array]]:
    if decisions is None or decisions[1] == 0:
        return gradients, []
    batch, num_problems = decisions
    gradients, loss = step.add_decision_gradient(
        gradients,
        state.params,
        place.batch(batch, learner.layout),
        np.float32(num_problems),
        np.float32(config.decision_weight),
        np.float32(temperature),
        chunk=config.logprob_chunk,
        **learner.shared,
    )
    return gradients, [loss]


def _summary(records: Sequence[_StepRecord], lr: float) -> FitMetrics:
    records = jax.device_get(list(records))

    def mean_of_steps(parts: list[list[Any]]) -> float | None:
        totals = [float(np.sum(part)) for part in parts if part]
        return float(np.mean(totals)) if totals else None

    terms = [term for record in records for term in record.policy]
    fields = objectives.PolicySums._fields
    totals = np.sum([term.sums for term in terms], axis=0) if terms else np.zeros((len(fields),))
    total: dict[str, float] = dict(zip(fields, totals.tolist(), strict=True))
    count = total["targets"]
    per_target = lambda name: total[name] / count if count else None  # noqa: E731
    return FitMetrics(
        policy_loss=mean_of_steps([[term.loss for term in r.policy] for r in records]),
        decision_loss=mean_of_steps([r.decision_loss for r in records]),
        replay_loss=mean_of_steps([r.replay_loss for r in records]),
        ratio_mean=per_target("ratio"),
        clip_fraction=per_target("clipped"),
        kl=per_target("kl"),
        target_tokens=count,
        steps=float(len(records)),
        grad_norm=float(np.mean([r.grad_norm for r in records])) if records else None,
        lr=lr,
    )
