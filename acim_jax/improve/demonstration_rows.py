"""Demonstrations as training rows, for warm-up SFT and for replay during the M-step."""

from collections.abc import Iterator, Sequence

import numpy as np

from acim_jax import rng
from acim_jax.improve import packing
from acim_jax.improve.config import WarmupConfig
from acim_jax.improve.packing import TokenBatch, TokenRow
from acim_jax.markup import Markup, outputs
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.records import DECISIONS, Author, Demonstration

#: Batches whose rows are sorted by length together, so that a batch fills its bucket.
SORTED_TOGETHER = 8


def demonstration_row(
    demonstration: Demonstration,
    tokenizer: Tokenizer,
    markup: Markup,
    *,
    prefix_weight: float,
) -> TokenRow:
    """Prompt, then the response's pieces, tokenised at the borders at which the sampler does.

    Interpreter output is no target. The decision prefix weighs `prefix_weight` per token, what
    follows it 1; the end token is a target.
    """
    prefix = markup.prefix_of(demonstration.response, demonstration.decision)
    ids = [tokenizer.prompt_ids(demonstration.question, markup)]
    weights = [np.zeros((len(ids[0]),), np.float32)]

    def add(piece: np.ndarray, weight: float) -> None:
        ids.append(piece)
        weights.append(np.full((len(piece),), weight, np.float32))

    if prefix:
        add(tokenizer.encode(prefix), prefix_weight)
    rest = demonstration.response[len(prefix) :]
    for author, text in outputs.split_by_author(rest, markup):
        if author is Author.OUTPUT:
            add(tokenizer.output_ids(text, markup), 0.0)
        else:
            add(tokenizer.encode(text), 1.0)
    add(np.array([tokenizer.eos_id], np.int32), 1.0)
    token_ids = np.concatenate(ids).astype(np.int32)
    return TokenRow(token_ids, np.concatenate(weights), np.zeros((len(token_ids),), np.float32))


def prefix_weights(config: WarmupConfig) -> dict[str, float]:
    """Weight of a decision's prefix tokens: decision_weight × prior × number of decisions.

    Bodies are learned in equal shares, so a decision's prefix is weighted by its prior instead of
    being shown more often.
    """
    priors = {"text": 1.0 - config.code_prior, "code": config.code_prior}
    return {d: config.decision_weight * len(DECISIONS) * priors[d] for d in DECISIONS}


def warmup_rows(
    sources: Sequence[Demonstration],
    tokenizer: Tokenizer,
    markup: Markup,
    config: WarmupConfig,
) -> list[TokenRow]:
    """All demonstrations that fit the widest bucket, as rows.

    Raises ValueError when there are none, or none fits.
    """
    if not sources:
        raise ValueError("Warm-up got no demonstrations; check data.demonstrations.")
    weight = prefix_weights(config)
    rows = [
        demonstration_row(d, tokenizer, markup, prefix_weight=weight[d.decision]) for d in sources
    ]
    fitting = [row for row in rows if len(row.token_ids) <= config.buckets[-1]]
    if not fitting:
        raise ValueError(
            f"None of the {len(rows)} demonstrations fits into warmup.buckets[-1] = "
            f"{config.buckets[-1]} tokens; the shortest has {min(len(r.token_ids) for r in rows)}."
        )
    return fitting


def warmup_batches(
    rows: Sequence[TokenRow], config: WarmupConfig, *, seed: int, first: int = 0
) -> Iterator[TokenBatch]:
    """Batches of a reshuffled pass after the other, from batch number `first` on.

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


def replay_rows(
    sources: Sequence[Demonstration], tokenizer: Tokenizer, markup: Markup
) -> list[TokenRow]:
    """Demonstrations without their decision prefix as a target: replay keeps the skills and
    leaves the decision to the E-step."""
    return [demonstration_row(d, tokenizer, markup, prefix_weight=0.0) for d in sources]
