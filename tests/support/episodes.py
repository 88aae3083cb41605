"""Episodes made by hand."""

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
