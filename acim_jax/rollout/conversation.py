"""The host's record of one conversation: its segments so far, and what it waits for."""

import dataclasses
import itertools
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from acim_jax.records import Author, ExecutionResult, RolloutRequest, Segment, Stop


@dataclasses.dataclass
class Sampled:
    """New tokens of one row out of a decode call, and whether the row stopped with the last."""

    token_ids: np.ndarray  # [n] int32
    logprobs: np.ndarray  # [n] float32
    full_logprobs: np.ndarray  # [n] float32
    stopped: bool


@dataclasses.dataclass
class Conversation:
    """A rollout in progress. Mutable; only `converse.py` and `engine.py` change it.

    limit: the length at which it is full. runs_code: a closed program is run. has_text_stops: stop
    texts of several tokens are looked for. cached: tokens whose keys are in the cache. shard, row:
    its place there (−1: none yet). pages: its own, which follow those of the shared prompt
    `shared`. table: all of them.
    """

    request: RolloutRequest
    key: np.ndarray  # [2] uint32
    segments: list[Segment]
    limit: int
    runs_code: bool
    has_text_stops: bool
    shard: int = -1
    row: int = -1
    pages: list[int] = dataclasses.field(default_factory=list[int])
    shared: bytes | None = None
    table: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0,), np.int32))
    cached: int = 0
    length: int = 0
    executions: list[ExecutionResult] = dataclasses.field(default_factory=list[ExecutionResult])
    program: Future[ExecutionResult] | None = None
    stop: Stop | None = None

    def __post_init__(self) -> None:
        self.segments = [segment for segment in self.segments if len(segment.token_ids)]
        self.length = sum(len(segment.token_ids) for segment in self.segments)

    @property
    def prompt_ids(self) -> np.ndarray:
        return _ids([s for s in self.segments[:1] if s.author is Author.PROMPT])

    def append(self, segment: Segment) -> None:
        self.segments.append(segment)
        self.length += len(segment.token_ids)

    def take(self, sampled: Sampled, *, keep_full: bool) -> Segment:
        """The row's newly sampled tokens as one MODEL segment."""
        full = sampled.full_logprobs if keep_full else None
        segment = Segment(Author.MODEL, sampled.token_ids, sampled.logprobs, full)
        self.append(segment)
        # All but the newest were inputs of a decode step.
        self.cached = self.length - 1
        return segment

    def uncached(self) -> np.ndarray:
        """The tokens to prefill: all that are not cached, without the newest."""
        return _ids(self.segments)[self.cached : -1]

    @property
    def watched(self) -> bool:
        """Whether the row stops at tokens that may close a fence or complete a stop text."""
        return self.runs_code or self.has_text_stops

    def newest_model_ids(self) -> np.ndarray:
        """What the model has sampled since the last token that it did not write."""
        newest = itertools.takewhile(lambda s: s.author is Author.MODEL, reversed(self.segments))
        return _ids([*newest][::-1])

    @property
    def newest(self) -> int:
        return int(self.segments[-1].token_ids[-1])

    def response_ids(self) -> np.ndarray:
        """All tokens behind the prompt, whoever wrote them."""
        return _ids([s for s in self.segments if s.author is not Author.PROMPT])


def _ids(segments: Sequence[Segment]) -> np.ndarray:
    """The tokens of all segments, one after another."""
    return np.concatenate([np.zeros((0,), np.int32), *(s.token_ids for s in segments)])


def merge_model_segments(segments: list[Segment]) -> list[Segment]:
    """Joins neighbouring MODEL segments, which are split where the host read the tokens."""
    merged: list[Segment] = []
    for is_model, group in itertools.groupby(segments, lambda s: s.author is Author.MODEL):
        found = [*group]
        merged += [_joined(found)] if is_model else found
    return merged


def _joined(run: list[Segment]) -> Segment:
    def join(field: str) -> np.ndarray | None:
        parts = [getattr(segment, field) for segment in run]
        return None if parts[0] is None else np.concatenate(parts)

    return Segment(Author.MODEL, _ids(run), join("logprobs"), join("full_logprobs"))
