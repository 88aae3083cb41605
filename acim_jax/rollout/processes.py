"""Rollouts on several processes: each makes those of its own problems, and all get every episode.

A process samples on its own devices (`sharding.mesh.local`) and runs programs in its own executor,
so that hosts do not wait for one another's long rollouts. Processes exchange episodes once, when
all are done, as pickles: arrays keep every bit, and none comes from outside the job. The order of
the requests alone decides which process makes a problem, and a draw depends on what is drawn
(`rng`), so the number of processes changes nothing but near ties.
"""

import dataclasses
import json
import pickle
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from acim_jax.environment.executor import Executor
from acim_jax.environment.server import ExecutorFailure
from acim_jax.model import transformer
from acim_jax.records import Episode, RolloutRequest, SamplingParams
from acim_jax.rollout import converse as one_process
from acim_jax.rollout.engine import Engine, RolloutStats
from acim_jax.rollout.journal import Journal
from acim_jax.rollout.progress import SILENT, Progress
from acim_jax.rollout.sampler import Sampler

#: Bytes that every process sends at once. One size, so that one function serves all messages.
PIECE = 2**20

Score = Callable[[list[Episode]], list[Episode]]


def converse(
    params: transformer.Params,
    requests: Sequence[RolloutRequest],
    sampler: Sampler,
    executor: Executor | None,
    *,
    seed: int,
    iteration: int,
    sampling: SamplingParams,
    score: Score = lambda episodes: episodes,
    progress: Progress = SILENT,
    journal: Journal | None = None,
) -> tuple[list[Episode], RolloutStats]:
    """One scored episode per request, in the order of the requests, the same on every process.

    All processes call this with equal requests, and with weights and a sampler on their own
    devices. score receives the process's own episodes, so that grading (and what it executes) is
    distributed as well. Counts and seconds are summed over the processes. progress hears of the
    rollouts of other processes when all of those have arrived. journal: this process's own; what it
    holds is not made again, and what is made is added to it. Raises RuntimeError on every
    process if one of them failed, and names it; a single process raises the error itself.
    """

    def make(own: Sequence[RolloutRequest]) -> tuple[list[Episode], RolloutStats]:
        kept = [None if journal is None else journal.get(request) for request in own]
        for _ in filter(None, kept):
            progress.finished()
        made, stats = one_process.converse(
            params,
            [request for request, episode in zip(own, kept, strict=True) if episode is None],
            sampler,
            executor,
            seed=seed,
            iteration=iteration,
            sampling=sampling,
            progress=progress,
            on_episode=(lambda *_: None) if journal is None else journal.add,
        )
        _check(stats)
        new = iter(made)
        return score([next(new) if e is None else e for e in kept]), stats

    if jax.process_count() == 1:
        return make(requests)
    owners = share(requests, jax.process_count())
    own = [r for r, owner in zip(requests, owners, strict=True) if owner == jax.process_index()]
    episodes, stats = _exchange(lambda: make(own), owners)
    for _ in range(len(requests) - len(own)):
        progress.finished()
    return episodes, stats


def _check(stats: RolloutStats) -> None:
    if stats.refused:
        raise ExecutorFailure(
            f"{stats.refused} programs could not be run; the log says why. Episodes that the "
            "executor cut short are no ground to go on from."
        )


def share(requests: Sequence[RolloutRequest], processes: int) -> list[int]:
    """The process that makes each request: problems are dealt out in their order.

    One process makes all rollouts of a problem, and computes their prompt once.
    """
    order: dict[str, int] = {}
    return [order.setdefault(request.problem.id, len(order)) % processes for request in requests]


def compile_all(params: transformer.Params, sampler: Sampler) -> int:
    """Compiles the functions of `converse` by calling them on no rows; their number."""
    count = Engine(params, sampler, SamplingParams()).compile_all()
    if jax.process_count() == 1:
        return count
    _gather(b"\0")
    return count + 2


def _exchange(
    make: Callable[[], tuple[list[Episode], RolloutStats]], owners: Sequence[int]
) -> tuple[list[Episode], RolloutStats]:
    """Makes this process's episodes and returns those of all, in the order of `owners`."""
    error, made, told = None, b"", {}
    try:
        episodes, stats = make()
        made, told = pickle.dumps(episodes), dataclasses.asdict(stats)
    except Exception as failure:  # raised below, after the others know and do not wait
        error = failure
    failed = None if error is None else f"{type(error).__name__}: {error}"
    reports = [json.loads(r) for r in _gather(json.dumps([failed, told]).encode("ascii"))]
    failures = [f"process {p}: {why}" for p, (why, _) in enumerate(reports) if why is not None]
    if failures:
        raise RuntimeError(
            f"Rollouts failed on {len(failures)} of {len(reports)} processes; {'; '.join(failures)}"
        ) from error
    streams: list[list[Episode]] = [pickle.loads(content) for content in _gather(made)]
    for process, stream in enumerate(streams):
        if len(stream) != owners.count(process):
            raise RuntimeError(
                f"Process {process} made {len(stream)} episodes, {owners.count(process)} were "
                "expected: call converse with the same requests on every process."
            )
    following = [iter(stream) for stream in streams]
    total = sum((RolloutStats(**each) for _, each in reports), RolloutStats())
    return [next(following[owner]) for owner in owners], total


def _gather(content: bytes) -> list[bytes]:
    """The contents of all processes, in their order, on every process."""
    size = np.frombuffer(len(content).to_bytes(8, "little"), np.uint8)
    rows = multihost_utils.process_allgather(size)
    sizes = [int.from_bytes(row.tobytes(), "little") for row in rows]
    pieces: list[np.ndarray] = []
    for at in range(0, max(sizes), PIECE):
        piece = np.zeros((PIECE,), np.uint8)
        given = np.frombuffer(content[at : at + PIECE], np.uint8)
        piece[: len(given)] = given
        pieces.append(multihost_utils.process_allgather(piece))
    whole = np.concatenate(pieces, axis=1)
    return [whole[process, :size].tobytes() for process, size in enumerate(sizes)]
