"""Host records to the arrays of a training step. Loss masks are derived from authorship here."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Array, Float, Int

from acim_jax.markup.prefix_rows import PrefixRows
from acim_jax.records import Author, Episode, Example


class TokenBatch(NamedTuple):
    """Rows of tokens, left-aligned; column t describes token t. Numpy on the host, jax inside a
    compiled function.

    weights: 0 where a token is not a target. behaviour_logprobs: log μ, 0 where there is none.
    """

    token_ids: Int[Array, "B T"]
    weights: Float[Array, "B T"]
    behaviour_logprobs: Float[Array, "B T"]
    advantages: Float[Array, "B"]


class DecisionBatch(NamedTuple):
    """Prompts with their decision prefixes, and s*(c|x), which is 0 in rows of padding."""

    rows: PrefixRows
    strategy: Float[Array, "P C"]


@dataclasses.dataclass(frozen=True, eq=False)
class TokenRow:
    """One training row on the host: ids, weights and log μ, each [n], and its advantage."""

    token_ids: np.ndarray
    weights: np.ndarray
    behaviour_logprobs: np.ndarray
    advantage: float = 0.0

    @property
    def num_targets(self) -> int:
        return int((self.weights > 0).sum())


def example_row(example: Example) -> TokenRow:
    """The MODEL tokens of an episode are its targets, each with its stored log μ.

    Prompts, forced prefixes and interpreter output are context. Raises ValueError for an episode
    whose MODEL tokens have no behaviour log-probs or were chosen greedily: it has no ratio.
    """
    episode = example.episode
    if episode.sampling.temperature <= 0:
        raise ValueError(
            f"The episode of problem {episode.problem_id} was decoded greedily: its tokens have no "
            "sampling probability to form a ratio with. Train on rollouts of positive temperature."
        )
    weights, logprobs = np.zeros((2, episode.num_tokens), np.float32)
    end = 0
    for segment in episode.segments:
        start, end = end, end + len(segment.token_ids)
        if segment.author is not Author.MODEL:
            continue
        if segment.logprobs is None:
            raise ValueError(
                f"The episode of problem {episode.problem_id} has MODEL tokens without behaviour "
                "log-probs; off-policy training needs those of the sampler."
            )
        weights[start:end], logprobs[start:end] = example.weight, segment.logprobs
    return TokenRow(episode.token_ids.astype(np.int32), weights, logprobs, example.advantage)


def fits(episode: Episode, buckets: Sequence[int]) -> bool:
    """Whether the widest row can hold the episode."""
    return episode.num_tokens <= buckets[-1]


def pack(rows: Sequence[TokenRow], width: int, num_rows: int) -> TokenBatch:
    """Rows of at most `width` tokens, padded with empty ones to `num_rows`."""
    token_ids = np.zeros((num_rows, width), np.int32)
    weights, logprobs = np.zeros((2, num_rows, width), np.float32)
    advantages = np.zeros((num_rows,), np.float32)
    for i, row in enumerate(rows):
        n = len(row.token_ids)
        if n > width:
            raise ValueError(f"A training row of {n} tokens does not fit into {width} columns.")
        token_ids[i, :n], weights[i, :n] = row.token_ids, row.weights
        logprobs[i, :n], advantages[i] = row.behaviour_logprobs, row.advantage
    return TokenBatch(*cast(Any, (token_ids, weights, logprobs, advantages)))


def microbatches(
    rows: Sequence[TokenRow], buckets: Sequence[int], rows_per_batch: int
) -> Iterator[TokenBatch]:
    """All rows, each in the narrowest bucket that holds it, `rows_per_batch` at a time.

    Raises ValueError for a row that no bucket holds: leaving it out would change the loss.
    """
    longest = max((len(row.token_ids) for row in rows), default=0)
    if longest > buckets[-1]:
        raise ValueError(
            f"A training row of {longest} tokens does not fit into the widest bucket, "
            f"{buckets[-1]}; drop it before, or widen improve.buckets."
        )
    narrower = 0
    for width in buckets:
        fitting = [row for row in rows if narrower < len(row.token_ids) <= width]
        for at in range(0, len(fitting), rows_per_batch):
            yield pack(fitting[at : at + rows_per_batch], width, rows_per_batch)
        narrower = width


def decision_batch(rows: PrefixRows, strategies: Sequence[np.ndarray]) -> DecisionBatch:
    """strategies: s* of the problems in `rows`; the padding behind them gets 0."""
    strategy = np.zeros(rows.of_decision.shape[:2], np.float32)
    for p, one in enumerate(strategies):
        strategy[p] = one
    return DecisionBatch(rows, cast(Any, strategy))
