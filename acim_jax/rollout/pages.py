"""Rows and pages of the cache, the host's side of `sampling/state.py`: which are free, and the work
on them that is given to the device, cut to the shapes of compiled functions."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from acim_jax.rollout.conversation import Conversation
from acim_jax.sampling.config import SamplingConfig
from acim_kernels.paged_attention.pages import TRASH


@dataclasses.dataclass
class Prompt:
    """Tokens that several conversations begin with, in the cache once a shard.

    Its last page, partly filled, is copied for each conversation; the others are read by all.
    users: conversations in rows that read them. awaited: conversations still to come.
    """

    token_ids: np.ndarray  # [n] int32
    pages: list[int]
    users: int = 0
    awaited: int = 0

    @property
    def cached(self) -> int:
        """All but the last token: a row's newest token is processed when the row decodes."""
        return len(self.token_ids) - 1


@dataclasses.dataclass
class Allocator:
    """The free rows and pages of one shard, and its shared prompts. Page 0 is the trash page."""

    index: int
    free_rows: list[int]
    free_pages: list[int]
    prompts: dict[bytes, Prompt] = dataclasses.field(default_factory=dict[bytes, Prompt])

    def take_pages(self, count: int) -> list[int]:
        """Free pages. A prompt that only waiting conversations need gives up its pages for them."""
        for key in [key for key, prompt in self.prompts.items() if prompt.users == 0]:
            if count <= len(self.free_pages):
                break
            self._forget(key)
        if count > len(self.free_pages):
            raise RuntimeError(
                f"The cache has {len(self.free_pages)} free pages, {count} are needed: rows "
                "hold more than SamplingConfig.pages plans for."
            )
        return [self.free_pages.pop() for _ in range(count)]

    def leave(self, key: bytes) -> None:
        """One user less of a shared prompt; its pages are freed when nobody needs it any more."""
        prompt = self.prompts[key]
        prompt.users -= 1
        if prompt.users == 0 and prompt.awaited == 0:
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        self.free_pages += self.prompts.pop(key).pages


def allocators(config: SamplingConfig, shards: int) -> list[Allocator]:
    """All rows and pages free, low numbers first."""
    rows, pages = config.rows(shards), config.pages(shards)
    return [
        Allocator(i, list(range(rows - 1, -1, -1)), list(range(pages - 1, TRASH, -1)))
        for i in range(shards)
    ]


def table(pages: Sequence[int], width: int) -> np.ndarray:
    """A row's page table [M] int32, filled up with the trash page."""
    row = np.full((width,), TRASH, np.int32)
    row[: len(pages)] = pages
    return row


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Tokens [n] to append to one row (or prompt) of a shard, from position `start` on."""

    shard: int
    table: np.ndarray  # [M] int32
    start: int
    token_ids: np.ndarray


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
