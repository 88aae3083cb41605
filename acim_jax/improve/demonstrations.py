"""Demonstrations as training rows: for warm-up, and for replay during the M-step."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from acim_jax import rng
from acim_jax.improve.packing import TokenRow
from acim_jax.markup import Markup, responses
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.records import Author, DecisionName, Demonstration


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """A demonstration as tokens: prompt, response and end token.

    is_target: what the model writes. start: tokens of the prompt. opening: how many tokens behind
    it take the decision.
    """

    decision: DecisionName
    token_ids: np.ndarray  # [n] int32
    is_target: np.ndarray  # [n] bool
    start: int
    opening: int

    def row(self, opening_weight: float) -> TokenRow:
        """A training row whose targets weigh 1, and each token of the opening `opening_weight`."""
        weights = self.is_target.astype(np.float32)
        weights[self.start : self.start + self.opening] = opening_weight
        return TokenRow(self.token_ids, weights, np.zeros((len(weights),), np.float32))


def encode(sources: Sequence[Demonstration], tokenizer: Tokenizer, markup: Markup) -> list[Encoded]:
    """The demonstrations with the openings that tell their decisions apart.

    Tokens are those of sampling, which encodes every author's piece by itself; interpreter output
    is no target. An opening is that of `responses.opening`; of text, it reaches at least to the
    first token by which it differs from every opening of code among the sources.
    """
    encoded = [_encoded(source, tokenizer, markup) for source in sources]
    begun: set[tuple[int, ...]] = set()
    for one in encoded:
        ids = _opening(one)
        if one.decision == "code" and len(ids) > 1:
            begun.update(ids[:n] for n in range(1, len(ids) + 1))
    return [_told_apart(one, begun) if one.decision == "text" else one for one in encoded]


def _encoded(source: Demonstration, tokenizer: Tokenizer, markup: Markup) -> Encoded:
    prompt = tokenizer.prompt_ids(source.question, markup)
    segments = responses.encode(source.response, source.decision, tokenizer, markup)
    ids = [prompt, *(s.token_ids for s in segments), np.array([tokenizer.eos_id])]
    is_target = [False, *(s.author is not Author.OUTPUT for s in segments), True]
    return Encoded(
        source.decision,
        np.concatenate(ids).astype(np.int32),
        np.repeat(is_target, [len(piece) for piece in ids]),
        len(prompt),
        responses.opening(segments, source.response, source.decision, tokenizer, markup),
    )


def _opening(one: Encoded) -> tuple[int, ...]:
    return tuple(one.token_ids[one.start : one.start + one.opening].tolist())


def _told_apart(text: Encoded, begun: set[tuple[int, ...]]) -> Encoded:
    """A text with its opening made longer while code begins in the same way."""
    while _opening(text) in begun and text.start + text.opening < len(text.token_ids):
        text = dataclasses.replace(text, opening=text.opening + 1)
    return text


def fitting(encoded: Sequence[Encoded], buckets: Sequence[int], field: str) -> list[Encoded]:
    """Those that fit into the widest of a config's `field` of buckets; ValueError if none does."""
    kept = [one for one in encoded if len(one.token_ids) <= buckets[-1]]
    if not kept:
        shortest = min((len(one.token_ids) for one in encoded), default=0)
        raise ValueError(
            f"None of the {len(encoded)} demonstrations fits into {field} = {[*buckets]}: the "
            f"shortest takes {shortest} tokens, prompt and end included. Widen {field}, or give "
            "shorter demonstrations in data.demonstrations."
        )
    return kept


@dataclasses.dataclass(frozen=True, eq=False)
class Replay:
    """Demonstrations that keep the skills during the M-step; `count` are drawn for each step.

    Their opening is no target: the decision belongs to the E-step.
    """

    rows: Sequence[TokenRow] = ()
    count: int = 0

    @classmethod
    def of(
        cls,
        sources: Sequence[Demonstration],
        tokenizer: Tokenizer,
        markup: Markup,
        *,
        count: int,
        buckets: Sequence[int],
    ) -> "Replay":
        """Of the demonstrations that fit into `improve.buckets`; ValueError if none does."""
        encoded = encode(sources, tokenizer, markup)
        kept = fitting(encoded, buckets, "improve.buckets")
        return cls([one.row(0.0) for one in kept], count)

    def draw(self, seed: int, iteration: int, step: int) -> list[TokenRow]:
        """The demonstrations of an optimiser step, drawn by (seed, iteration, step)."""
        draw = rng.host(seed, iteration, "replay", step)
        return [self.rows[i] for i in draw.integers(len(self.rows), size=self.count)]
