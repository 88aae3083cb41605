"""Episodes made by hand, and a comparison of sampled ones."""

from collections.abc import Sequence

import numpy as np

from acim_jax.records import (
    Author,
    Episode,
    ExecutionResult,
    Guide,
    SamplingParams,
    Segment,
    Status,
    Stop,
)


def make_episode(
    problem_id: str,
    guide: Guide,
    reward: float,
    *,
    index: int = 0,
    executed: bool = False,
    stop: Stop = Stop.EOS,
    tokens: int = 4,
) -> Episode:
    """One token of prompt, the others by the model."""
    ids = np.arange(1, tokens, dtype=np.int32)
    segments = (
        Segment(Author.PROMPT, np.array([2], np.int32)),
        Segment(Author.MODEL, ids, np.full(ids.shape, -1.0, np.float32)),
    )
    execution = ExecutionResult("1", "1\n", "", Status.OK, 0.1)
    return Episode(
        problem_id=problem_id,
        guide=guide,
        index=index,
        segments=segments,
        executions=(execution,) if executed else (),
        stop=stop,
        sampling=SamplingParams(1.0),
        reward=reward,
    )


def count_different(ours: Sequence[Episode], theirs: Sequence[Episode], *, atol: float) -> int:
    """How many episodes have other tokens. In the rest authors are equal, and log-probs to atol."""
    different = 0
    for one, other in zip(ours, theirs, strict=True):
        assert (one.problem_id, one.guide, one.index) == (
            other.problem_id,
            other.guide,
            other.index,
        )
        if not np.array_equal(one.token_ids, other.token_ids):
            different += 1
            continue
        for mine, their in zip(one.segments, other.segments, strict=True):
            assert mine.author is their.author
            if mine.author is Author.MODEL:
                assert mine.logprobs is not None and their.logprobs is not None
                np.testing.assert_allclose(mine.logprobs, their.logprobs, rtol=0, atol=atol)
    return different
