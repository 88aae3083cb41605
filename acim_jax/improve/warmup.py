"""The `warmup` section of a run: supervised fine-tuning on demonstrations of both decisions."""

import dataclasses


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
