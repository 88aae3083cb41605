"""The `sampling` section of a run."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Shapes of the sampler's compiled functions, and the distribution of training rollouts.

    slots: rows that decode at once, in every process of a job. spare: conversations held beside
    them, waiting for a slot or for an interpreter (None: half as many as slots). max_length: tokens
    of a conversation, prompt and interpreter output included. chunk: decode steps between two looks
    of the host.
    prefill_rows, prefill_buckets: rows and widths of the functions that append given tokens, which
    come with a quarter of the rows as well; longer texts are appended in several pieces of the
    largest width. page_size: tokens of a cache page.
    kv_cache: `model` keeps keys and values in the model's dtype, `int8` in a quarter to a half of
    that, with log-probs that differ (docs/performance.md).
    temperature, top_k, top_p, min_p: of training rollouts; evaluation states its own. 0, 1 and 0
    switch the truncations off.
    """

    slots: int = 64
    spare: int | None = None
    max_length: int = 192
    chunk: int = 8
    prefill_rows: int = 16
    prefill_buckets: tuple[int, ...] = (16, 48)
    page_size: int = 32
    kv_cache: Literal["model", "int8"] = "model"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        for name in ("slots", "max_length", "chunk", "prefill_rows", "page_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.spare is not None and self.spare < 0:
            raise ValueError(f"spare must not be negative, got {self.spare}.")
        if not self.prefill_buckets or sorted(set(self.prefill_buckets)) != list(
            self.prefill_buckets
        ):
            raise ValueError(
                f"prefill_buckets must be distinct widths in rising order, got "
                f"{list(self.prefill_buckets)}."
            )
        if self.prefill_buckets[0] < 1:
            raise ValueError(f"prefill_buckets must be positive, got {self.prefill_buckets[0]}.")
        if self.temperature <= 0:
            raise ValueError(
                f"temperature of training rollouts must be positive, got {self.temperature}: "
                "greedy rollouts have no log-probability to learn from."
            )
        check_truncation(self.top_k, self.top_p, self.min_p)

    def rows(self, shards: int = 1) -> int:
        """Conversations that each of `shards` parts of the batch holds at once."""
        spare = self.slots // 2 if self.spare is None else self.spare
        return self.slots // shards + -(-spare // shards)

    def check_shards(self, shards: int) -> None:
        """ValueError for slots that `shards` parts of the batch cannot share evenly."""
        if self.slots % shards:
            raise ValueError(
                f"sampling.slots is {self.slots}, but this mesh splits rows into {shards} equal "
                f"parts (data × fsdp); make it a multiple of {shards}, or change mesh."
            )

    @property
    def pages_per_row(self) -> int:
        return -(-self.max_length // self.page_size)

    def pages(self, shards: int = 1) -> int:
        """Pages of one shard: every row full, a partly filled prompt page each, and the trash page.

        Rows of one prompt share its full pages, so that pages never run out.
        """
        return 1 + self.rows(shards) * (self.pages_per_row + 1)


def check_truncation(top_k: int, top_p: float, min_p: float) -> None:
    """ValueError for values that are no truncation."""
    if top_k < 0:
        raise ValueError(f"top_k must be 0 (off) or positive, got {top_k}.")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1 (off), got {top_p}.")
    if not 0 <= min_p < 1:
        raise ValueError(f"min_p must be at least 0 (off) and below 1, got {min_p}.")
