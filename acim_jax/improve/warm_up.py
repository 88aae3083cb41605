"""Warm-up: supervised fine-tuning on demonstrations of both decisions.

The model learns to do both before it learns when to do which.
"""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from acim_jax import rng
from acim_jax.improve import demonstrations, packing, step
from acim_jax.improve.config import WarmupConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenBatch, TokenRow
from acim_jax.improve.state import TrainState
from acim_jax.markup import Markup
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.records import DECISIONS, DecisionName, Demonstration
from acim_jax.sharding import place

#: Batches whose rows are sorted by length together, so that a batch fills its bucket.
SORTED_TOGETHER = 8


def opening_weights(
    config: WarmupConfig, shown: Sequence[DecisionName]
) -> dict[DecisionName, float]:
    """Weight of the tokens that take a decision: decision_weight · prior_d / share_d.

    share_d: the decision's share of `shown`, the rows. So the openings are fitted to the prior
    whatever the shares are, and all bodies weigh the same. Without a prior it is the shares
    themselves. ValueError where a prior is asked for a decision that no row shows.
    """
    if config.code_prior is None:
        return dict.fromkeys(DECISIONS, config.decision_weight)
    prior: dict[DecisionName, float] = {"text": 1.0 - config.code_prior, "code": config.code_prior}
    counts = {d: shown.count(d) for d in DECISIONS}
    if lacking := [d for d in DECISIONS if not counts[d]]:
        raise ValueError(
            f"warmup.code_prior is {config.code_prior:g}, but none of the {len(shown)} "
            f"demonstrations that fit into warmup.buckets shows {lacking[0]}. Add some (`acim "
            "demonstrate` makes both), widen warmup.buckets, or set warmup.code_prior to null: the "
            "openings are then learned as they are shown."
        )
    return {d: config.decision_weight * prior[d] * len(shown) / counts[d] for d in DECISIONS}


def rows(
    sources: Sequence[Demonstration], tokenizer: Tokenizer, markup: Markup, config: WarmupConfig
) -> list[TokenRow]:
    """All demonstrations that fit the widest bucket, as rows. ValueError when none fits, and as
    `opening_weights` raises.

    Weights are scaled so that those of a row sum to 1 on average: a batch is then divided by its
    rows, and one that happens to hold much code has no smaller say in the prior for it.
    """
    encoded = demonstrations.encode(sources, tokenizer, markup)
    fitting = demonstrations.fitting(encoded, config.buckets, "warmup.buckets")
    weight = opening_weights(config, [one.decision for one in fitting])
    made = [one.row(weight[one.decision]) for one in fitting]
    mean = float(np.mean([row.weights.sum() for row in made]))
    return [dataclasses.replace(row, weights=row.weights / np.float32(mean)) for row in made]


def batches(
    rows: Sequence[TokenRow], config: WarmupConfig, *, seed: int, first: int = 0
) -> Iterator[TokenBatch]:
    """Batches without end, from batch number `first` on; each pass over the rows is shuffled anew.

    Rows of SORTED_TOGETHER batches are sorted by length, and the batches shuffled again.
    """
    together = config.rows * SORTED_TOGETHER
    batch_number = 0
    for epoch in range(1_000_000_000):
        order = rng.host(seed, "warm-up", epoch).permutation(len(rows))
        for at in range(0, max(len(order) - together + 1, 1), together):
            chosen = sorted(order[at : at + together], key=lambda i: len(rows[i].token_ids))
            groups = [chosen[i : i + config.rows] for i in range(0, len(chosen), config.rows)]
            for g in rng.host(seed, "warm-up", epoch, at).permutation(len(groups)):
                batch_number += 1
                if batch_number <= first:
                    continue
                group = [rows[i] for i in groups[g]]
                longest = max(len(row.token_ids) for row in group)
                width = next(w for w in config.buckets if w >= longest)
                yield packing.pack(group, width, config.rows)


def learning_rate(config: WarmupConfig, at: int) -> float:
    """Linear rise, plateau, linear fall over the last `decay_fraction` of the steps."""
    rise = min(1.0, (at + 1) / max(config.lr_warmup, 1))
    left = (config.steps - at) / max(config.steps * config.decay_fraction, 1.0)
    return config.lr * rise * max(config.final_lr_fraction, min(1.0, left))


def fit(
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
    """Steps `first` to `last` of `config.steps`. The loss is fetched every `log_every` steps only,
    so that the host does not wait for the device in between."""
    for at in range(first, last):
        batch = next(batches)
        gradients, loss = step.add_likelihood_gradient(
            step.zeros(state.params, layout=learner.layout),
            state.params,
            place.batch(batch, learner.layout),
            np.float32(max(np.any(batch.weights > 0, axis=1).sum(), 1)),
            np.float32(1.0),
            chunk=config.logprob_chunk,
            **learner.shared,
        )
        lr = np.float32(learning_rate(config, at))
        state, _ = step.apply(state, gradients, lr, optimiser=learner.optimiser)
        on_step()
        if (at + 1) % log_every == 0 or at + 1 == config.steps:
            on_loss(at + 1, float(loss))
    return state
