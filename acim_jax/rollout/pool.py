"""Who owns which page and row of the cache: the host's side of `sampling/state.py`."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from acim_jax.sampling.config import SamplingConfig
from acim_kernels.decode.pages import TRASH


@dataclasses.dataclass
class Prompt:
    """Tokens that several conversations begin with, in the cache once a shard.

    cached: how many of the tokens are in its pages. The last of them, partly filled, is copied for
    each conversation; the others are read by all. users: conversations that still need them.
    """

    token_ids: np.ndarray  # [n] int32
    pages: list[int]
    users: int = 0

    @property
    def cached(self) -> int:
        """All but the last token: a row's newest token is processed when the row decodes."""
        return len(self.token_ids) - 1


@dataclasses.dataclass
class Shard:
    """One shard's rows and pages. Page 0 is the trash page and belongs to nobody."""

    index: int
    free_rows: list[int]
    free_pages: list[int]
    prompts: dict[bytes, Prompt] = dataclasses.field(default_factory=dict[bytes, Prompt])

    def take_pages(self, count: int) -> list[int]:
        if count > len(self.free_pages):
            raise RuntimeError(
                f"The page pool has {len(self.free_pages)} free pages, {count} are needed: rows "
                "hold more than SamplingConfig.pages plans for."
            )
        return [self.free_pages.pop() for _ in range(count)]

    def leave(self, key: bytes) -> None:
        """One user less of a shared prompt; the last one frees its pages."""
        prompt = self.prompts[key]
        prompt.users -= 1
        if prompt.users == 0:
            self.free_pages += prompt.pages
            del self.prompts[key]


def make_shards(config: SamplingConfig, count: int) -> list[Shard]:
    """All rows and pages free, low numbers first."""
    rows, pages = config.rows(count), config.pages(count)
    return [
        Shard(i, list(range(rows - 1, -1, -1)), list(range(pages - 1, TRASH, -1)))
        for i in range(count)
    ]


def table(pages: Iterable[int], width: int) -> np.ndarray:
    """A row's page table [M] int32, filled up with the trash page."""
    row = np.full((width,), TRASH, np.int32)
    pages = list(pages)
    row[: len(pages)] = pages
    return row


def pages_for(tokens: int, page_size: int) -> int:
    return -(-tokens // page_size)
