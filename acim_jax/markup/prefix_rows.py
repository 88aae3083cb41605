"""Prompts with a decision prefix behind them, as rows that π̂ and the cross-entropy score.

Numpy only; both steps of EM take their batches from here.
"""

import dataclasses
import functools
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
    def line_ends(self) -> np.ndarray: ...


#: The columns of all prefixes together are a multiple of this, as those of prompts are.
MULTIPLE = 16


class PrefixRows(NamedTuple):
    """Every problem's prompt once, with all decision prefixes behind it (`model/scoring.py`).

    W: columns of prompts, left-aligned. S: columns of the N prefixes of all decisions, one after
    another. prefix_of: the prefix that a column belongs to, −1 for padding. of_decision: which
    prefixes lead to which decision; nowhere true in rows of padding.
    """

    prompts: np.ndarray  # [P, W] int32
    lengths: np.ndarray  # [P] int32
    prefixes: np.ndarray  # [P, S] int32
    prefix_of: np.ndarray  # [P, S] int32
    of_decision: np.ndarray  # [P, C, N] bool


@dataclasses.dataclass(frozen=True, eq=False)
class PrefixEncoder:
    """Makes `PrefixRows` with prompts of `width` columns. P is a multiple of `shards`."""

    tokenizer: Encoder
    markup: Markup
    width: int
    shards: int = 1

    def prefix_ids(self) -> list[list[np.ndarray]]:
        """The ids of each decision's prefixes, in the order of DECISIONS."""
        return [[self.tokenizer.encode(p) for p in self.markup.prefixes(d)] for d in DECISIONS]

    @functools.cached_property
    def fence_ids(self) -> np.ndarray:
        """The tokens of an opening code fence, [n] int32."""
        return self.tokenizer.encode(self.markup.code_open)

    @functools.cached_property
    def ends_line(self) -> np.ndarray:
        """bool [vocabulary]: tokens that end a line."""
        return self.tokenizer.line_ends()

    def rows(self, problems: Sequence[Problem], num_problems: int) -> PrefixRows:
        """Rows of `problems`, padded to `num_problems`.

        Raises ValueError for a prompt that does not fit into the width.
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
    every = [prefix for of_decision in prefixes for prefix in of_decision]
    S = _rounded(sum(map(len, every)))
    rows = PrefixRows(
        prompts=np.zeros((num_problems, width), np.int32),
        lengths=np.zeros((num_problems,), np.int32),
        prefixes=np.zeros((num_problems, S), np.int32),
        prefix_of=np.full((num_problems, S), -1, np.int32),
        of_decision=np.zeros((num_problems, len(prefixes), len(every)), np.bool_),
    )
    at = 0
    for n, prefix in enumerate(every):
        rows.prefixes[:, at : at + len(prefix)] = prefix
        rows.prefix_of[:, at : at + len(prefix)] = n
        at += len(prefix)
    owner = np.repeat(np.arange(len(prefixes)), [len(of_decision) for of_decision in prefixes])
    rows.of_decision[: len(prompts)] = owner == np.arange(len(prefixes))[:, None]
    for p, prompt in enumerate(prompts):
        if len(prompt) > width:
            raise ValueError(f"A prompt of {len(prompt)} tokens does not fit into {width} columns.")
        rows.prompts[p, : len(prompt)] = prompt
        rows.lengths[p] = len(prompt)
    return rows


def width(tokenizer: Encoder, markup: Markup, problems: Sequence[Problem]) -> int:
    """Columns that hold every prompt, a multiple of `MULTIPLE`."""
    prompts = (tokenizer.prompt_ids(p.question, markup) for p in problems)
    return _rounded(max((len(ids) for ids in prompts), default=1))


def longest_prefix(tokenizer: Encoder, markup: Markup) -> int:
    """Tokens of the longest decision prefix."""
    return max(len(tokenizer.encode(p)) for d in DECISIONS for p in markup.prefixes(d))


def _rounded(columns: int) -> int:
    return -(-columns // MULTIPLE) * MULTIPLE
