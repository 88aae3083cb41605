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
from acim_jax.improve import objectives, packing, step
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import DecisionBatch, TokenBatch, TokenRow
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
    optimiser step that no term has anything for is left out.
    """
    measured: list[_Terms] = []
    norms: list[jax.Array] = []
    for epoch in range(config.epochs):
        order = rng.host(seed, iteration, "minibatches", epoch).permutation(len(data.rows))
        for nth, chosen in enumerate(np.array_split(order, config.minibatches)):
            rows = [data.rows[i] for i in chosen]
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
    return state, _summary(jax.device_get(measured), jax.device_get(norms), lr)


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


def _summary(measured: Sequence[_Terms], norms: Sequence[np.ndarray], lr: float) -> FitMetrics:
    def mean_of_steps(parts: list[list[Any]]) -> float | None:
        totals = [float(np.sum(part)) for part in parts if part]
        return float(np.mean(totals)) if totals else None

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
        grad_norm=float(np.mean(norms)) if norms else None,
        lr=lr,
    )
