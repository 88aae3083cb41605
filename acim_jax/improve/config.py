"""The `improve` and `warmup` sections of a run."""

import dataclasses

from acim_jax.records import AdvantageName


@dataclasses.dataclass(frozen=True)
class ImproveConfig:
    """The M-step's optimiser and objective.

    lr decays linearly to lr·final_lr_fraction over the run. clip_epsilon: the ratio's band.
    advantage: `normalised` is (r − b)/(std + δ), `centred` is r − b. decision_weight: λ of the
    decision cross-entropy. replay_weight: weight of the demonstrations' log-likelihood (0: none);
    replay_rows: demonstrations per optimiser step. minibatches: optimiser steps per iteration and
    epoch. microbatch_rows: rows on the device at once; gradients are accumulated over
    microbatches by token counts. buckets: widths of training rows, each one program; episodes
    longer than the widest are dropped and counted. logprob_chunk: columns of logits held at once
    (0: all of them).
    """

    lr: float = 3e-4
    final_lr_fraction: float = 0.1
    b1: float = 0.9
    b2: float = 0.98
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    clip_epsilon: float = 0.2
    advantage: AdvantageName = "normalised"
    decision_weight: float = 1.0
    replay_weight: float = 1.0
    replay_rows: int = 32
    epochs: int = 1
    minibatches: int = 4
    microbatch_rows: int = 16
    buckets: tuple[int, ...] = (64, 128)
    logprob_chunk: int = 0

    def __post_init__(self) -> None:
        for name in ("lr", "max_grad_norm", "clip_epsilon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        for name in ("epochs", "minibatches", "microbatch_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("decision_weight", "replay_weight", "weight_decay", "logprob_chunk"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")
        if not self.buckets or sorted(set(self.buckets)) != list(self.buckets):
            raise ValueError(
                f"buckets must be distinct widths in rising order, got {list(self.buckets)}."
            )
        if not 0 <= self.final_lr_fraction <= 1:
            raise ValueError(f"final_lr_fraction must lie in [0, 1], got {self.final_lr_fraction}.")
        if self.replay_weight > 0 and self.replay_rows < 1:
            raise ValueError(
                f"replay_weight is {self.replay_weight} but replay_rows is {self.replay_rows}."
            )


@dataclasses.dataclass(frozen=True)
class WarmupConfig:
    """Warm-up SFT, so that the model can do both before it learns when to do which.

    steps: optimiser steps (0: no warm-up). rows: demonstrations per step, half of each decision.
    code_prior: the probability of `code` that the decision prefixes are fitted to; the bodies are
    learned in equal shares whatever it is, because the prefix tokens of a demonstration are
    weighted by its decision's prior. decision_weight: weight of the prefix tokens against the
    bodies'. lr rises over lr_warmup steps, and falls linearly to lr·final_lr_fraction over the
    last decay_fraction of the steps. buckets: row widths, each one program.
    """

    steps: int = 0
    rows: int = 64
    lr: float = 3e-3
    lr_warmup: int = 50
    decay_fraction: float = 0.5
    final_lr_fraction: float = 0.03
    b1: float = 0.9
    b2: float = 0.98
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    code_prior: float = 0.1
    decision_weight: float = 0.2
    buckets: tuple[int, ...] = (64, 96, 160)

    def __post_init__(self) -> None:
        if self.steps < 0 or self.rows < 1 or self.lr <= 0:
            raise ValueError(
                f"warmup needs steps >= 0, rows >= 1 and lr > 0, got {self.steps}, {self.rows} "
                f"and {self.lr}."
            )
        if not 0 < self.code_prior < 1:
            raise ValueError(f"code_prior must lie between 0 and 1, got {self.code_prior}.")
        if not 0 < self.decay_fraction <= 1 or not 0 <= self.final_lr_fraction <= 1:
            raise ValueError(
                "decay_fraction must lie in (0, 1] and final_lr_fraction in [0, 1], got "
                f"{self.decay_fraction} and {self.final_lr_fraction}."
            )
        if not self.buckets or sorted(set(self.buckets)) != list(self.buckets):
            raise ValueError(
                f"buckets must be distinct widths in rising order, got {list(self.buckets)}."
            )
