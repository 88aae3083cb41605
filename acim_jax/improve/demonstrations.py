"""Demonstrations as training rows: for warm-up, and for replay during the M-step."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from acim_jax import rng
from acim_jax.improve.packing import TokenRow
from acim_jax.markup import Markup, responses
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.records import Author, Demonstration


def row(
    demonstration: Demonstration, tokenizer: Tokenizer, markup: Markup, *, prefix_weight: float
) -> TokenRow:
    """Prompt, then the response's pieces, tokenised at the borders at which the sampler does.

    Interpreter output is no target. Each token of the decision prefix has weight `prefix_weight`,
    what the model writes behind it 1; the end token is a target.
    """
    weight = {Author.FORCED: prefix_weight, Author.MODEL: 1.0, Author.OUTPUT: 0.0}
    response, decision = demonstration.response, demonstration.decision
    pieces = [(tokenizer.prompt_ids(demonstration.question, markup), 0.0)]
    for segment in responses.encode(response, decision, tokenizer, markup):
        pieces.append((segment.token_ids, weight[segment.author]))
    pieces.append((np.array([tokenizer.eos_id], np.int32), 1.0))
    token_ids = np.concatenate([ids for ids, _ in pieces]).astype(np.int32)
    weights = np.concatenate([np.full((len(ids),), w, np.float32) for ids, w in pieces])
    return TokenRow(token_ids, weights, np.zeros((len(token_ids),), np.float32))


@dataclasses.dataclass(frozen=True, eq=False)
class Replay:
    """Demonstrations that keep the skills during the M-step; `count` are drawn for each step.

    The decision prefix is no target: the decision belongs to the E-step.
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
        longest: int,
    ) -> "Replay":
        """Of the demonstrations that take at most `longest` tokens; ValueError if none does."""
        rows = [row(source, tokenizer, markup, prefix_weight=0.0) for source in sources]
        fitting = [one for one in rows if len(one.token_ids) <= longest]
        if not fitting:
            raise ValueError(
                f"None of the {len(rows)} demonstrations that replay draws from fits into "
                f"improve.buckets[-1] = {longest} tokens; widen it, or set improve.replay_weight "
                "to 0."
            )
        return cls(fitting, count)

    def draw(self, seed: int, iteration: int, step: int) -> list[TokenRow]:
        """The demonstrations of an optimiser step, drawn by (seed, iteration, step)."""
        draw = rng.host(seed, iteration, "replay", step)
        return [self.rows[i] for i in draw.integers(len(self.rows), size=self.count)]
