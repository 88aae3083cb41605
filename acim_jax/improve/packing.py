"""Host records to the arrays of a training step. Loss masks are derived from authorship here."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from acim_jax.improve.config import ImproveConfig
from acim_jax.markup.prefix_rows import PrefixRows
from acim_jax.records import Author, Episode, Example

#: Arrays of a row that only some objectives take.
_OPTIONAL = ("proximal_logprobs", "reference_logprobs", "has_bonus")


class TokenBatch(NamedTuple):
    """Rows of tokens, left-aligned; column t describes token t. Numpy on the host, jax inside a
    compiled function.

    weights: 0 where a token is not a target. behaviour_logprobs: log μ, 0 where there is none.
    proximal_logprobs, reference_logprobs: of the policy before the first update and of the
    reference; has_bonus: where the entropy counts. None where the objective asks for none.
    """

    token_ids: Int[Array, "B T"]
    weights: Float[Array, "B T"]
    behaviour_logprobs: Float[Array, "B T"]
    advantages: Float[Array, "B"]
    proximal_logprobs: Float[Array, "B T"] | None = None
    reference_logprobs: Float[Array, "B T"] | None = None
    has_bonus: Bool[Array, "B T"] | None = None


class DecisionBatch(NamedTuple):
    """Prompts with their decision prefixes, and s*(c|x), which is 0 in rows of padding."""

    rows: PrefixRows
    strategy: Float[Array, "P C"]


@dataclasses.dataclass(frozen=True, eq=False)
class TokenRow:
    """One training row on the host: ids, weights and log μ, each [n], and its advantage. age: how
    many iterations ago it was sampled. is_recomputed: log μ is not the sampler's but, once
    `rescoring` has filled it in, the trainer's before the first update. The others are as of
    `TokenBatch`, each [n] or None in all rows of a batch."""

    token_ids: np.ndarray
    weights: np.ndarray
    behaviour_logprobs: np.ndarray
    advantage: float = 0.0
    age: int = 0
    is_recomputed: bool = False
    proximal_logprobs: np.ndarray | None = None
    reference_logprobs: np.ndarray | None = None
    has_bonus: np.ndarray | None = None

    @property
    def num_targets(self) -> int:
        return int((self.weights > 0).sum())


def example_row(example: Example, bonus_tokens: int | None = None) -> TokenRow:
    """The MODEL tokens of an episode are its targets, each with its stored log μ.

    Prompts, forced prefixes and interpreter output are context. bonus_tokens: so many targets
    behind each interpreter output have the entropy bonus; None leaves `has_bonus` out. Raises
    ValueError for an episode whose MODEL tokens have no behaviour log-probs, unless it was
    transplanted, or were chosen greedily: it has no ratio.
    """
    episode = example.episode
    if episode.sampling.temperature <= 0:
        raise ValueError(
            f"The episode of problem {episode.problem_id} was decoded greedily: its tokens have no "
            "sampling probability to form a ratio with. Train on rollouts of positive temperature."
        )
    weights, logprobs = np.zeros((2, episode.num_tokens), np.float32)
    has_bonus = None if bonus_tokens is None else np.zeros((episode.num_tokens,), bool)
    end = left = 0
    for segment in episode.segments:
        start, end = end, end + len(segment.token_ids)
        if segment.author is not Author.MODEL:
            left = (bonus_tokens or 0) if segment.author is Author.OUTPUT else left
            continue
        weights[start:end] = example.weight
        if segment.logprobs is not None:
            logprobs[start:end] = segment.logprobs
        elif not episode.transplanted:
            raise ValueError(
                f"The episode of problem {episode.problem_id} has MODEL tokens without behaviour "
                "log-probs; off-policy training needs those of the sampler."
            )
        if has_bonus is not None:
            has_bonus[start : min(start + left, end)] = True
            left -= min(left, end - start)
    ids = episode.token_ids.astype(np.int32)
    return TokenRow(
        ids,
        weights,
        logprobs,
        example.advantage,
        is_recomputed=episode.transplanted,
        has_bonus=has_bonus,
    )


def blank_row(config: ImproveConfig, width: int) -> TokenRow:
    """A row without a target that has the arrays which the config's policy term takes."""
    zeros = np.zeros((width,), np.float32)
    return TokenRow(
        np.zeros((width,), np.int32),
        zeros,
        zeros,
        proximal_logprobs=None if config.correction == "none" else zeros,
        reference_logprobs=None if config.kl_weight == 0 else zeros,
        has_bonus=None if config.entropy_tokens is None else zeros > 0,
    )


def fits(episode: Episode, buckets: Sequence[int]) -> bool:
    """Whether the widest row can hold the episode."""
    return episode.num_tokens <= buckets[-1]


def pack(rows: Sequence[TokenRow], width: int, num_rows: int) -> TokenBatch:
    """Rows of at most `width` tokens, padded with empty ones to `num_rows`."""
    advantages = np.array([row.advantage for row in rows], np.float32)

    def filled(name: str, dtype: Any = np.float32) -> np.ndarray | None:
        found = [getattr(row, name) for row in rows]
        if name in _OPTIONAL and (not rows or found[0] is None):
            return None
        array = np.zeros((num_rows, width), dtype)
        for i, values in enumerate(found):
            n = len(values)
            if n > width:
                raise ValueError(f"A training row of {n} tokens does not fit into {width} columns.")
            array[i, :n] = values
        return array

    made = (
        filled("token_ids", np.int32),
        filled("weights"),
        filled("behaviour_logprobs"),
        np.pad(advantages, (0, num_rows - len(rows))),
        filled("proximal_logprobs"),
        filled("reference_logprobs"),
        filled("has_bonus", bool),
    )
    return TokenBatch(*cast(Any, made))


def microbatches(
    rows: Sequence[TokenRow], buckets: Sequence[int], rows_per_batch: int
) -> Iterator[TokenBatch]:
    """All rows, each in the narrowest bucket that holds it, `rows_per_batch` at a time.

    Raises ValueError for a row that no bucket holds: leaving it out would change the loss.
    """
    for width, chosen in split(rows, buckets, rows_per_batch):
        yield pack([rows[i] for i in chosen], width, rows_per_batch)


def split(
    rows: Sequence[TokenRow], buckets: Sequence[int], rows_per_batch: int
) -> Iterator[tuple[int, list[int]]]:
    """The width and the rows, by number, of each of `microbatches`."""
    longest = max((len(row.token_ids) for row in rows), default=0)
    if longest > buckets[-1]:
        raise ValueError(
            f"A training row of {longest} tokens does not fit into the widest bucket, "
            f"{buckets[-1]}; drop it before, or widen improve.buckets."
        )
    narrower = 0
    for width in buckets:
        fitting = [i for i, row in enumerate(rows) if narrower < len(row.token_ids) <= width]
        for at in range(0, len(fitting), rows_per_batch):
            yield width, fitting[at : at + rows_per_batch]
        narrower = width


def decision_batch(rows: PrefixRows, strategies: Sequence[np.ndarray]) -> DecisionBatch:
    """strategies: s* of the problems in `rows`; the padding behind them gets 0."""
    strategy = np.zeros(rows.of_decision.shape[:2], np.float32)
    for p, one in enumerate(strategies):
        strategy[p] = one
    return DecisionBatch(rows, cast(Any, strategy))
