"""One conversation's bookkeeping on the host: its segments so far, and what it waits for."""

import dataclasses
from concurrent.futures import Future

import numpy as np

from acim_jax.records import (
    Author,
    Episode,
    ExecutionResult,
    RolloutRequest,
    SamplingParams,
    Segment,
    Stop,
)


@dataclasses.dataclass
class Conversation:
    """A rollout on its way. Mutable, and owned by the loop of `converse.py` alone.

    to_append: given tokens (prompt and prefix, or interpreter output) that its row still lacks.
    settled: tokens of the row that are already in `segments`.
    """

    request: RolloutRequest
    key: np.ndarray  # [2] uint32
    to_append: list[Segment]
    slot: int = -1
    settled: int = 0
    segments: list[Segment] = dataclasses.field(default_factory=list[Segment])
    executions: list[ExecutionResult] = dataclasses.field(default_factory=list[ExecutionResult])
    program: Future[ExecutionResult] | None = None
    due: int = 0  # the round from which on its program's result is waited for
    stop: Stop | None = None

    def append_given(self) -> np.ndarray:
        """The tokens to append now; they count as settled from here on."""
        segments = [segment for segment in self.to_append if len(segment.token_ids)]
        self.segments += segments
        self.to_append = []
        tokens = np.concatenate([segment.token_ids for segment in segments])
        self.settled += len(tokens)
        return tokens

    def settle_sampled(self, tokens_S: np.ndarray, logprobs_S: np.ndarray, length: int) -> None:
        """Takes the row's newly sampled tokens over as one MODEL segment."""
        if length > self.settled:
            new = slice(self.settled, length)
            segment = Segment(
                Author.MODEL,
                tokens_S[new].astype(np.int32),
                logprobs_S[new].astype(np.float32),
            )
            self.segments.append(segment)
            self.settled = length

    def response_ids(self) -> np.ndarray:
        """All tokens behind the prompt, whoever wrote them."""
        pieces = [s.token_ids for s in self.segments if s.author is not Author.PROMPT]
        return np.concatenate(pieces) if pieces else np.zeros((0,), np.int32)

    def finish(
        self, text: str, fences_opened: int, sampling: SamplingParams, policy_version: int
    ) -> Episode:
        assert self.stop is not None
        return Episode(
            problem_id=self.request.problem.id,
            guide=self.request.guide,
            index=self.request.index,
            segments=tuple(merge_model_segments(self.segments)),
            executions=tuple(self.executions),
            stop=self.stop,
            sampling=sampling,
            policy_version=policy_version,
            fences_opened=fences_opened,
            text=text,
        )


def merge_model_segments(segments: list[Segment]) -> list[Segment]:
    """Joins neighbouring MODEL segments: where the host looked is no property of an episode."""
    merged: list[Segment] = []
    for segment in segments:
        last = merged[-1] if merged else None
        if last is not None and last.author is segment.author is Author.MODEL:
            assert last.logprobs is not None and segment.logprobs is not None
            merged[-1] = Segment(
                Author.MODEL,
                np.concatenate([last.token_ids, segment.token_ids]),
                np.concatenate([last.logprobs, segment.logprobs]),
            )
        else:
            merged.append(segment)
    return merged
