"""The work on rows that the host gives to the device, cut to the shapes of compiled functions."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from acim_jax.rollout.conversation import Conversation


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Tokens [n] to append to one row (or prompt) of a shard, from position `start` on."""

    shard: int
    table: np.ndarray  # [M] int32
    start: int
    token_ids: np.ndarray

    def split(self, widest: int) -> list["Piece"]:
        """Pieces of at most `widest` tokens, to be appended one after another."""
        return [
            Piece(self.shard, self.table, self.start + at, self.token_ids[at : at + widest])
            for at in range(0, len(self.token_ids), widest)
        ]


@dataclasses.dataclass(frozen=True)
class PageCopy:
    """One page of a shard to be copied over another."""

    shard: int
    source: int
    target: int


T = TypeVar("T", Piece, PageCopy, Conversation)


def calls(items: Iterable[T], shards: int, rows: int) -> Iterator[list[list[T]]]:
    """Items in calls of at most `rows` a shard; a call is a list for every shard."""
    by_shard: list[list[T]] = [[] for _ in range(shards)]
    for item in items:
        by_shard[item.shard].append(item)
    for at in range(0, max(map(len, by_shard)), rows):
        yield [some[at : at + rows] for some in by_shard]
