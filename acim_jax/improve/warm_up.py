"""Warm-up: supervised fine-tuning on demonstrations of both decisions.

The model learns to do both before it learns when to do which.
"""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

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
from acim_jax.records import DECISIONS, Demonstration
from acim_jax.sharding import place

#: Batches whose rows are sorted by length together, so that a batch fills its bucket.
SORTED_TOGETHER = 8


def prefix_weights(config: WarmupConfig) -> dict[str, float]:
    """Weight of a decision's prefix tokens: decision_weight × prior × number of decisions.

    Responses are learned in equal shares, so a decision's prefix is weighted by its prior instead
    of being shown more often.
    """
    priors = {"text": 1.0 - config.code_prior, "code": config.code_prior}
    return {d: config.decision_weight * len(DECISIONS) * priors[d] for d in DECISIONS}


def rows(
    sources: Sequence[Demonstration], tokenizer: Tokenizer, markup: Markup, config: WarmupConfig
) -> list[TokenRow]:
    """All demonstrations that fit the widest bucket, as rows.

    Raises ValueError when there are none, or none fits.
    """
    if not sources:
        raise ValueError("Warm-up got no demonstrations; check data.demonstrations.")
    weight = prefix_weights(config)
    made = [
        demonstrations.row(d, tokenizer, markup, prefix_weight=weight[d.decision]) for d in sources
    ]
    fitting = [row for row in made if len(row.token_ids) <= config.buckets[-1]]
    if not fitting:
        raise ValueError(
            f"None of the {len(made)} demonstrations fits into warmup.buckets[-1] = "
            f"{config.buckets[-1]} tokens; the shortest has {min(len(r.token_ids) for r in made)}."
        )
    return fitting


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
            np.float32(max(float(np.sum(batch.weights)), 1e-9)),
            np.float32(1.0),
            **learner.shared,
        )
        lr = np.float32(learning_rate(config, at))
        state, _ = step.apply(state, gradients, lr, optimiser=learner.optimiser)
        on_step()
        if (at + 1) % log_every == 0 or at + 1 == config.steps:
            on_loss(at + 1, float(loss))
    return state
