"""Finished rollouts on disk, one by one as they finish: a restart makes only the missing ones.

    line 1      what the rollouts belong to, as any JSON object
    others      {"key", "seconds", "episode"}: one unscored rollout, and the time spent so far

Arrays are written by their bytes, so an episode comes back to the last bit. From a line on that a
crash spoilt, the rest is cut off. Lines are with the system at once, which outlives the process,
and on the disk after a second at most.
"""

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from acim_jax.files import failures
from acim_jax.records import (
    Author,
    Episode,
    ExecutionResult,
    RolloutRequest,
    SamplingParams,
    Segment,
    Status,
    Stop,
)

#: Seconds of finished rollouts that a power cut may take.
SYNC_S = 1.0


class Journal:
    """Of one call of `processes.converse`; open it with `opened`."""

    def __init__(self, path: Path, file: BinaryIO, kept: Mapping[str, Episode], spent: float):
        self._path, self._file, self._kept = path, file, kept
        self._started = time.monotonic() - spent
        self._synced = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent on these rollouts, over all restarts."""
        return time.monotonic() - self._started

    def get(self, request: RolloutRequest) -> Episode | None:
        """The rollout of a request if it was finished before."""
        return self._kept.get(_key(request))

    def add(self, request: RolloutRequest, episode: Episode) -> None:
        """Keeps a finished rollout, unless our executor failed it: that one is made again."""
        if episode.stop is Stop.INFRA:
            return
        record = {
            "key": _key(request),
            "seconds": round(self.seconds, 3),
            "episode": to_json(episode),
        }
        with failures.naming(self._path):
            self._file.write(json.dumps(record).encode("ascii") + b"\n")
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()


@contextlib.contextmanager
def opened(path: Path, belongs_to: Mapping[str, Any]) -> Iterator[Journal]:
    """The journal at `path`, begun anew if it belongs to something else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps(belongs_to, sort_keys=True).encode("ascii") + b"\n"
    kept, spent, end = _read(path, head)
    with failures.naming(path), path.open("r+b" if end else "wb") as file:
        if end:
            file.truncate(end)
            file.seek(end)
        else:
            file.write(head)
        file.flush()
        yield Journal(path, file, kept, spent)


def finished(paths: Sequence[Path], requests: Sequence[RolloutRequest]) -> list[Episode]:
    """The unscored rollouts of all requests out of the journals at `paths`, whatever these belong
    to. ValueError where one is missing."""
    kept: dict[str, Episode] = {}
    for path in paths:
        kept |= _read(path, None)[0]
    found = [kept.get(_key(request)) for request in requests]
    if missing := found.count(None):
        raise ValueError(
            f"{missing} of {len(requests)} rollouts are not in {', '.join(map(str, paths))}: they "
            "are of another config, or the iteration was not finished."
        )
    return [episode for episode in found if episode is not None]


def _read(path: Path, head: bytes | None) -> tuple[dict[str, Episode], float, int]:
    """Rollouts by their keys, the time spent on them, and the length of the sound part. head: the
    first line that is needed; None for any."""
    kept: dict[str, Episode] = {}
    if not path.is_file():
        return kept, 0.0, 0
    spent, end = 0.0, 0
    with path.open("rb") as lines:
        first = next(lines, b"")
        if first != (first if head is None else head):
            return kept, spent, end
        end = len(first)
        for line in lines:
            try:
                record = json.loads(line) if line.endswith(b"\n") else {}
                kept[record["key"]], spent = from_json(record["episode"]), record["seconds"]
            except (ValueError, KeyError, TypeError):  # what a power cut leaves
                break
            end += len(line)
    return kept, spent, end


def _key(request: RolloutRequest) -> str:
    """Everything that decides a rollout beside the weights and the sampler."""
    problem = request.problem
    said = (problem.id, problem.question, request.guide, request.index, request.prefix)
    limits = (request.max_tokens, request.ends_at_fence)
    return hashlib.blake2s(json.dumps([*said, *limits]).encode("ascii"), digest_size=16).hexdigest()


def to_json(episode: Episode) -> dict[str, Any]:
    """An episode as JSON, from which `from_json` makes the same one."""
    return {
        **vars(episode),
        "segments": [
            [int(s.author), *map(_bytes, (s.token_ids, s.logprobs, s.full_logprobs))]
            for s in episode.segments
        ],
        "executions": [dataclasses.asdict(execution) for execution in episode.executions],
        "sampling": dataclasses.asdict(episode.sampling),
    }


def from_json(record: Mapping[str, Any]) -> Episode:
    return Episode(
        **{
            **record,
            "segments": tuple(
                Segment(Author(author), _array(ids, np.int32), *(_array(f, np.float32) for f in of))
                for author, ids, *of in record["segments"]
            ),
            "executions": tuple(
                ExecutionResult(**{**one, "status": Status(one["status"])})
                for one in record["executions"]
            ),
            "stop": Stop(record["stop"]),
            "sampling": SamplingParams(**record["sampling"]),
        }
    )


def _bytes(array: np.ndarray | None) -> str | None:
    return None if array is None else base64.b64encode(array.tobytes()).decode("ascii")


def _array(content: str | None, dtype: type) -> Any:
    return None if content is None else np.frombuffer(base64.b64decode(content), dtype)
