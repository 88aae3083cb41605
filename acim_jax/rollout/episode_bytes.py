"""Episodes as bytes, to be sent from one process of a job to the others, exact to the last bit.

8 bytes with the length of a JSON text, the text (ASCII, all but the tokens), then three
little-endian arrays, each concatenated over segments: token ids (int32), log-probs and full
log-probs (float32) of the segments that have them.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from acim_jax.records import Author, Episode, ExecutionResult, SamplingParams, Segment, Status, Stop

_IDS, _LOGPROBS = np.dtype("<i4"), np.dtype("<f4")
#: Fields of an episode that are JSON as they are.
_PLAIN = tuple(
    field.name
    for field in dataclasses.fields(Episode)
    if field.name not in ("segments", "executions", "stop", "sampling")
)


def dump(episodes: Sequence[Episode]) -> bytes:
    """The bytes from which `load` makes the same episodes."""
    segments = [segment for episode in episodes for segment in episode.segments]
    text = json.dumps([_record(episode) for episode in episodes]).encode("ascii")
    return b"".join(
        [
            len(text).to_bytes(8, "little"),
            text,
            *(s.token_ids.astype(_IDS).tobytes() for s in segments),
            *(s.logprobs.astype(_LOGPROBS).tobytes() for s in segments if s.logprobs is not None),
            *(
                s.full_logprobs.astype(_LOGPROBS).tobytes()
                for s in segments
                if s.full_logprobs is not None
            ),
        ]
    )


def load(content: bytes) -> list[Episode]:
    """The episodes of `dump`. ValueError for bytes of another length than they state."""
    length = int.from_bytes(content[:8], "little")
    records = json.loads(content[8 : 8 + length])
    # author, tokens, has log-probs, has full log-probs
    segments = [segment for record in records for segment in record["segments"]]
    shapes = np.array(segments, np.int64).reshape(-1, 4)
    lengths = shapes[:, 1]
    counts = [int(n) for n in (lengths.sum(), *(lengths @ shapes[:, 2:]))]
    wanted = 8 + length + 4 * sum(counts)
    if len(content) != wanted:
        raise ValueError(f"Episodes of {wanted} bytes came as {len(content)} bytes.")
    arrays: list[np.ndarray] = []
    at = 8 + length
    for count, dtype in zip(counts, (_IDS, _LOGPROBS, _LOGPROBS), strict=True):
        arrays.append(np.frombuffer(content, dtype, count, at).astype(dtype.newbyteorder("=")))
        at += 4 * count
    return _episodes(records, arrays)


def _record(episode: Episode) -> dict[str, Any]:
    return {name: getattr(episode, name) for name in _PLAIN} | {
        "stop": episode.stop.value,
        "sampling": dataclasses.asdict(episode.sampling),
        "executions": [dataclasses.asdict(execution) for execution in episode.executions],
        "segments": [
            (int(s.author), len(s.token_ids), s.logprobs is not None, s.full_logprobs is not None)
            for s in episode.segments
        ],
    }


def _episodes(records: Sequence[dict[str, Any]], arrays: Sequence[np.ndarray]) -> list[Episode]:
    starts = [0, 0, 0]

    def take(which: int, count: int) -> np.ndarray:
        starts[which] += count
        return arrays[which][starts[which] - count : starts[which]]

    def segment(author: int, n: int, has_logprobs: bool, has_full: bool) -> Segment:
        ids = take(0, n)
        logprobs = take(1, n) if has_logprobs else None
        return Segment(Author(author), ids, logprobs, take(2, n) if has_full else None)

    return [
        Episode(
            **{name: record[name] for name in _PLAIN},
            stop=Stop(record["stop"]),
            sampling=SamplingParams(**record["sampling"]),
            executions=tuple(
                ExecutionResult(**execution | {"status": Status(execution["status"])})
                for execution in record["executions"]
            ),
            segments=tuple(segment(*shape) for shape in record["segments"]),
        )
        for record in records
    ]
