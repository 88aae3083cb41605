"""What one M-step is fitted to: the E-step's examples and strategies, as rows and batches."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from acim_jax import rng
from acim_jax.improve import packing
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.demonstrations import Replay
from acim_jax.improve.packing import DecisionBatch, TokenRow
from acim_jax.markup.prefix_rows import PrefixEncoder
from acim_jax.records import Example, Problem


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSet:
    """rows: the curated episodes. drawn_tokens: as of `records.CurationCounts`; drawn_rollouts: as
    many as curation draws where all are usable, with an advantage or without. num_problems: all
    that were explored, with a signal or without. decisions: for each optimiser step, a batch of
    queries; empty where the cross-entropy is off. replay: the demonstrations of each optimiser
    step; empty where replay is off."""

    rows: Sequence[TokenRow]
    temperature: float
    drawn_tokens: float
    drawn_rollouts: float
    num_problems: int = 0
    decisions: Sequence[DecisionBatch] = ()
    replay: Sequence[Sequence[TokenRow]] = ()

    def with_earlier(self, earlier: Sequence["TrainingSet"]) -> "TrainingSet":
        """With the rollouts of earlier iterations, newest first, and what their draws count."""
        rows = [*self.rows]
        for age, other in enumerate(earlier, start=1):
            rows += [dataclasses.replace(row, age=age) for row in other.rows]
        several = (self, *earlier)
        return dataclasses.replace(
            self,
            rows=rows,
            drawn_tokens=sum(one.drawn_tokens for one in several),
            drawn_rollouts=sum(one.drawn_rollouts for one in several),
        )


def build(
    examples: Sequence[Example],
    drawn_tokens: float,
    drawn_rollouts: float,
    problems: Sequence[Problem],
    strategies: Mapping[str, np.ndarray],
    encoder: PrefixEncoder,
    replay: Replay,
    config: ImproveConfig,
    *,
    most_problems: int,
    temperature: float,
    seed: int,
    iteration: int,
) -> TrainingSet:
    """problems: all of the batch, of which an iteration has at most `most_problems`. strategies: s*
    by problem id, of those with a signal."""
    with_signal = [problem for problem in problems if problem.id in strategies]
    decisions: list[DecisionBatch] = []
    if with_signal and config.decision_weight > 0:
        decisions = decision_batches(
            with_signal,
            [strategies[problem.id] for problem in with_signal],
            encoder,
            config,
            most_problems=most_problems,
            seed=seed,
            iteration=iteration,
        )
    steps = config.epochs * config.minibatches if config.replay_weight > 0 else 0
    return TrainingSet(
        rows=[packing.example_row(example, config.entropy_tokens) for example in examples],
        temperature=temperature,
        drawn_tokens=drawn_tokens,
        drawn_rollouts=drawn_rollouts,
        num_problems=len(problems),
        decisions=decisions,
        replay=[replay.draw(seed, iteration, step) for step in range(steps)],
    )


def decision_batches(
    problems: Sequence[Problem],
    strategies: Sequence[np.ndarray],
    encoder: PrefixEncoder,
    config: ImproveConfig,
    *,
    most_problems: int,
    seed: int,
    iteration: int,
) -> list[DecisionBatch]:
    """A batch for every optimiser step, wide enough for an equal share of `most_problems`.

    Each epoch goes once through all queries, in an order drawn from (seed, iteration, epoch).
    """
    share = -(-most_problems // config.minibatches)
    batches: list[DecisionBatch] = []
    for epoch in range(config.epochs):
        order = rng.host(seed, iteration, "decisions", epoch).permutation(len(problems))
        for part in np.array_split(order, config.minibatches):
            chosen: list[int] = part.tolist()
            rows = encoder.rows([problems[i] for i in chosen], share)
            batches.append(packing.decision_batch(rows, [strategies[i] for i in chosen]))
    return batches
