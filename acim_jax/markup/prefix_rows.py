"""Prompts with a decision prefix behind them, as rows that π̂ and the cross-entropy score.

Numpy only; both steps of EM take their batches from here.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from acim_jax.markup.form import Markup
from acim_jax.records import DECISIONS, Problem


@runtime_checkable
class Encoder(Protocol):
    """What is needed of a tokenizer (`markup.tokenizer.Tokenizer` has it)."""

    def encode(self, text: str) -> np.ndarray: ...
    def prompt_ids(self, question: str, markup: Markup) -> np.ndarray: ...


class PrefixRows(NamedTuple):
    """Every (problem, decision, prefix): K is the largest number of prefixes of a decision.

    is_prefix marks the prefix tokens. Rows of padding have none.
    """

    token_ids: np.ndarray  # [P, C, K, T] int32
    is_prefix: np.ndarray  # [P, C, K, T] bool


@dataclasses.dataclass(frozen=True, eq=False)
class PrefixEncoder:
    """Makes `PrefixRows` of `width` columns. P is rounded up to a multiple of `shards`."""

    tokenizer: Encoder
    markup: Markup
    width: int
    shards: int = 1

    def prefix_ids(self) -> list[list[np.ndarray]]:
        """The ids of each decision's prefixes, in the order of DECISIONS."""
        return [[self.tokenizer.encode(p) for p in self.markup.prefixes(d)] for d in DECISIONS]

    def rows(self, problems: Sequence[Problem], num_problems: int) -> PrefixRows:
        """Rows of `problems`, padded to `num_problems`.

        Raises ValueError for a prompt that does not fit into the width with its prefix.
        """
        prompts = [self.tokenizer.prompt_ids(p.question, self.markup) for p in problems]
        padded = -(-num_problems // self.shards) * self.shards
        return pack(prompts, self.prefix_ids(), width=self.width, num_problems=padded)


def pack(
    prompts: Sequence[np.ndarray],
    prefixes: Sequence[Sequence[np.ndarray]],
    *,
    width: int,
    num_problems: int,
) -> PrefixRows:
    """prompts: the ids of each problem. prefixes: for each decision, the ids of its prefixes."""
    most = max(len(of_decision) for of_decision in prefixes)
    shape = (num_problems, len(prefixes), most, width)
    token_ids, is_prefix = np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
    for p, prompt in enumerate(prompts):
        for c, of_decision in enumerate(prefixes):
            for k, prefix in enumerate(of_decision):
                end = len(prompt) + len(prefix)
                if end > width:
                    raise ValueError(
                        f"A prompt of {len(prompt)} tokens and its decision prefix of "
                        f"{len(prefix)} do not fit into {width} columns."
                    )
                token_ids[p, c, k, :end] = np.concatenate([prompt, prefix])
                is_prefix[p, c, k, len(prompt) : end] = True
    return PrefixRows(token_ids, is_prefix)


def width(
    tokenizer: Encoder, markup: Markup, problems: Sequence[Problem], *, multiple: int = 16
) -> int:
    """Columns that hold every prompt with every decision prefix, rounded up to `multiple`."""
    prefixes = [p for d in DECISIONS for p in markup.prefixes(d)]
    longest_prefix = max(len(tokenizer.encode(prefix)) for prefix in prefixes)
    prompts = (tokenizer.prompt_ids(p.question, markup) for p in problems)
    longest = max((len(ids) for ids in prompts), default=1) + longest_prefix
    return -(-longest // multiple) * multiple
