"""M-step and warm-up: host loops that feed the programs of `step.py`."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from acim_jax import rng
from acim_jax.improve import objectives, packing, step
from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.improve.packing import DecisionBatch, TokenBatch, TokenRow
from acim_jax.improve.state import TrainState
from acim_jax.model import lora
from acim_jax.model.config import ModelConfig
from acim_jax.sharding import axes

Metrics = dict[str, float | None]
BATCH_AXES = ("batch",)


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """What stays the same over a run's optimiser steps. frozen: the base of a LoRA run."""

    model: ModelConfig
    optimiser: optax.GradientTransformation
    layout: axes.Layout | None = None
    frozen: lora.Frozen | None = None

    @property
    def shared(self) -> dict[str, Any]:
        """Keyword arguments of every gradient term."""
        return {"config": self.model, "layout": self.layout, "frozen": self.frozen}

    def model_params(self, trained: lora.Params) -> lora.Params:
        """The parameters that the model is scored with, from those that are trained."""
        return lora.model_params(trained, self.frozen)

    def place(self, batch: Any) -> Any:
        """A host batch onto the devices, rows over the batch axes."""
        if self.layout is None:
            return jax.tree.map(jax.device_put, batch)
        sharding = self.layout.sharding(BATCH_AXES)
        return jax.tree.map(lambda x: jax.device_put(x, sharding), batch)


@dataclasses.dataclass(frozen=True, eq=False)
class Lesson:
    """What one M-step learns from.

    rows: training rows of the curated episodes. decisions: prompts' decision batches, one per
    optimiser step and epoch, with the number of problems that carry a signal in each. replay:
    draws the next demonstrations of an optimiser step.
    """

    rows: Sequence[TokenRow]
    decisions: Sequence[tuple[DecisionBatch, int]]
    replay: Callable[[int], Sequence[TokenRow]]
    temperature: float


class StepSums(NamedTuple):
    """One optimiser step's metrics, still on the device."""

    policy_loss: Any
    decision_loss: Any
    replay_loss: Any
    sums: Any
    grad_norm: Any


def learning_rate(config: ImproveConfig, progress: float) -> float:
    """Linear from lr at progress 0 to lr·final_lr_fraction at progress 1."""
    return config.lr * (1.0 + (config.final_lr_fraction - 1.0) * progress)


def improve(
    state: TrainState,
    lesson: Lesson,
    learner: Learner,
    config: ImproveConfig,
    *,
    seed: int,
    iteration: int,
    lr: float,
) -> tuple[TrainState, Metrics]:
    """One M-step: `epochs` passes over the rows in `minibatches` optimiser steps each.

    Minibatches are drawn from (seed, iteration, epoch), so a resumed run sees the same ones.
    """
    records: list[StepSums] = []
    for epoch in range(config.epochs):
        order = rng.host(seed, iteration, "minibatches", epoch).permutation(len(lesson.rows))
        for nth, chosen in enumerate(np.array_split(order, config.minibatches)):
            rows = [lesson.rows[i] for i in chosen]
            at = epoch * config.minibatches + nth
            decisions = lesson.decisions[at] if lesson.decisions else None
            replay = lesson.replay(at) if config.replay_weight > 0 else ()
            if not rows and not replay and (decisions is None or decisions[1] == 0):
                continue
            state, record = _one_step(
                state, rows, decisions, replay, lesson.temperature, learner, config, lr
            )
            records.append(record)
    return state, _summary(records, lr)


def _one_step(
    state: TrainState,
    rows: Sequence[TokenRow],
    decisions: tuple[DecisionBatch, int] | None,
    replay: Sequence[TokenRow],
    temperature: float,
    learner: Learner,
    config: ImproveConfig,
    lr: float,
) -> tuple[TrainState, StepSums]:
    gradients = step.zeros(state.params, layout=learner.layout)
    policy: list[step.PolicyTerm] = []
    replayed: list[jax.Array] = []
    decided: list[jax.Array] = []
    num_targets = np.float32(max(sum(row.num_targets for row in rows), 1))
    for batch in packing.microbatches(rows, config.buckets, config.microbatch_rows):
        gradients, term = step.add_policy_gradient(
            gradients,
            state.params,
            learner.place(batch),
            num_targets,
            np.float32(temperature),
            clip_epsilon=config.clip_epsilon,
            chunk=config.logprob_chunk,
            **learner.shared,
        )
        policy.append(term)
    total_weight = np.float32(max(sum(float(row.weights.sum()) for row in replay), 1e-9))
    for batch in packing.microbatches(replay, config.buckets, config.microbatch_rows):
        gradients, loss = step.add_likelihood_gradient(
            gradients,
            state.params,
            learner.place(batch),
            total_weight,
            np.float32(config.replay_weight),
            chunk=config.logprob_chunk,
            **learner.shared,
        )
        replayed.append(loss)
    if decisions is not None and decisions[1] > 0 and config.decision_weight > 0:
        gradients, loss = step.add_decision_gradient(
            gradients,
            state.params,
            learner.place(decisions[0]),
            np.float32(decisions[1]),
            np.float32(config.decision_weight),
            np.float32(temperature),
            chunk=config.logprob_chunk,
            **learner.shared,
        )
        decided.append(loss)
    applied = step.apply(state, gradients, np.float32(lr), optimiser=learner.optimiser)
    sums = StepSums(
        policy_loss=[term.loss for term in policy],
        decision_loss=decided,
        replay_loss=replayed,
        sums=[term.sums for term in policy],
        grad_norm=applied.grad_norm,
    )
    return applied.state, sums


def _summary(records: Sequence[StepSums], lr: float) -> Metrics:
    """Means over the steps that had the term, and over target tokens; None where nothing was."""
    records = jax.device_get(list(records))

    def mean_of_steps(parts: list[list[np.ndarray]]) -> float | None:
        totals = [float(np.sum(part)) for part in parts if part]
        return float(np.mean(totals)) if totals else None

    sums = [np.asarray(one) for record in records for one in record.sums]
    fields = objectives.PolicySums._fields
    totals = np.sum(sums, axis=0) if sums else np.zeros((len(fields),))
    total = dict(zip(fields, totals.tolist(), strict=True))
    count = total["targets"]
    per_target = lambda name: total[name] / count if count else None  # noqa: E731
    policy = mean_of_steps([record.policy_loss for record in records])
    decision = mean_of_steps([record.decision_loss for record in records])
    replay = mean_of_steps([record.replay_loss for record in records])
    return {
        "train/policy_loss": policy,
        "train/decision_loss": decision,
        "train/replay_loss": replay,
        "train/ratio_mean": per_target("ratio"),
        "train/clip_fraction": per_target("clipped"),
        "train/kl": per_target("kl"),
        "train/target_tokens": count,
        "train/steps": float(len(records)),
        "train/grad_norm": float(np.mean([r.grad_norm for r in records])) if records else None,
        "train/lr": lr,
    }


def warmup_learning_rate(config: WarmupConfig, at: int) -> float:
    """Linear rise, plateau, linear fall over the last `decay_fraction` of the steps."""
    rise = min(1.0, (at + 1) / max(config.lr_warmup, 1))
    left = (config.steps - at) / max(config.steps * config.decay_fraction, 1.0)
    return config.lr * rise * max(config.final_lr_fraction, min(1.0, left))


def warmup(
    state: TrainState,
    batches: Iterator[TokenBatch],
    learner: Learner,
    config: WarmupConfig,
    *,
    first: int,
    last: int,
    on_step: Callable[[], None] = lambda: None,
    on_loss: Callable[[int, float], None] = lambda step, loss: None,
    log_every: int = 50,
) -> TrainState:
    """Supervised fine-tuning, steps `first` to `last` of `config.steps`. The loss is fetched every
    `log_every` steps only, so that the device is not waited for in between."""
    for at in range(first, last):
        batch = next(batches)
        gradients, loss = step.add_likelihood_gradient(
            step.zeros(state.params, layout=learner.layout),
            state.params,
            learner.place(batch),
            np.float32(max(float(np.sum(batch.weights)), 1e-9)),
            np.float32(1.0),
            **learner.shared,
        )
        lr = np.float32(warmup_learning_rate(config, at))
        state = step.apply(state, gradients, lr, optimiser=learner.optimiser).state
        on_step()
        if (at + 1) % log_every == 0 or at + 1 == config.steps:
            on_loss(at + 1, float(loss))
    return state
