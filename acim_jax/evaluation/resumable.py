"""An evaluation made batch by batch into its folder, and the tables over what stands there."""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acim_jax.environment.executor import Executor
from acim_jax.evaluation import episode_rows, evaluate, results_folder
from acim_jax.evaluation.episode_rows import Judged
from acim_jax.evaluation.results_folder import ResultsFolder
from acim_jax.files import jsonl
from acim_jax.grading.grader import Grader
from acim_jax.model import transformer
from acim_jax.records import DECISIONS, GUIDES, Guide, Problem, RolloutRequest, SamplingParams
from acim_jax.rollout.sampler import Sampler

#: Rollouts of a batch per row slot: enough that rows which finish late idle few of the others.
BATCH_PER_SLOT = 8

Judgements = Mapping[str, Mapping[str, Sequence[Judged]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Rollouts that are made together and kept together; `file` is their problems' source."""

    file: str
    requests: Sequence[RolloutRequest]


@dataclasses.dataclass(frozen=True, eq=False)
class Collected:
    """What the tables need of all episodes: by file and guide, and how they stopped."""

    judged: Judgements
    stops: Mapping[str, Mapping[str, Mapping[str, int]]]


def plan(
    data: Mapping[str, Sequence[Problem]],
    guides: Sequence[Guide],
    sampler: Sampler,
    samples: int,
) -> list[Batch]:
    """All rollouts, file by file and guide by guide; a batch holds problems of one file."""
    size = BATCH_PER_SLOT * sampler.config.slots
    batches: list[Batch] = []
    for file, problems in data.items():
        wanted = [
            request
            for guide in guides
            for request in evaluate.requests(problems, guide, sampler, samples)
        ]
        batches += [Batch(file, wanted[at : at + size]) for at in range(0, len(wanted), size)]
    return batches


def run(
    params: transformer.Params,
    batches: Sequence[Batch],
    folder: ResultsFolder,
    sampler: Sampler,
    executor: Executor,
    grader: Grader,
    *,
    sampling: SamplingParams,
    seed: int,
    on_done: Callable[[], None] = lambda: None,
) -> None:
    """Makes the batches that the folder lacks."""
    before = 0
    for batch in batches:
        before += len(batch.requests)
        if before <= folder.kept:
            continue
        started = time.perf_counter()
        episodes = evaluate.rollouts(
            params,
            batch.requests,
            sampler,
            executor,
            grader,
            sampling=sampling,
            seed=seed,
            on_done=on_done,
        )
        rows = [
            episode_rows.episode_row(episode, sampler.tokenizer, file=batch.file)
            for episode in episodes
        ]
        folder.append(rows, time.perf_counter() - started)


def collect(folder: ResultsFolder, batches: Sequence[Batch]) -> Collected:
    """Reads the folder's episodes; ValueError with file and line where one is not the planned."""
    judged: dict[str, dict[str, list[Judged]]] = {}
    stops: dict[str, dict[str, Counter[str]]] = {}
    rows = folder.episodes()
    for file, request in _requests(batches):
        where, row = next(rows)
        found = (row["file"], row["problem_id"], row["guide"], row["sample"])
        wanted = (file, request.problem.id, request.guide, request.index)
        if found != wanted:
            raise ValueError(
                f"{where}: the episode is {found}, the plan has {wanted} here; the file was "
                "changed by hand. Evaluate into another --out."
            )
        guide = request.guide
        judged.setdefault(file, {}).setdefault(guide, []).append(Judged.of_row(row))
        stops.setdefault(file, {}).setdefault(guide, Counter())[row["stop"]] += 1
    return Collected(judged, stops)


def _requests(batches: Sequence[Batch]) -> Iterator[tuple[str, RolloutRequest]]:
    for batch in batches:
        for request in batch.requests:
            yield batch.file, request


def tables(collected: Collected, samples: int, oracle: Judgements | None) -> dict[str, Any]:
    """The `data` of results.json. oracle: forced runs of another evaluation, by file; without it
    those of this one judge the decisions, where all three kinds were run."""
    data: dict[str, Any] = {}
    for file, by_guide in collected.judged.items():
        table: dict[str, Any] = {}
        for guide in GUIDES:
            if guide in by_guide:
                stops = dict(sorted(collected.stops[file][guide].items()))
                table[guide] = {**evaluate.guide_table(by_guide[guide], samples), "stops": stops}
        forced = by_guide if oracle is None else oracle[file]
        if "native" in by_guide and all(decision in forced for decision in DECISIONS):
            table["decisions"] = evaluate.decisions_table(by_guide, forced)
        data[file] = table
    return data


def read_oracle(path: Path, data: Mapping[str, Sequence[Problem]]) -> Judgements:
    """The forced runs of another evaluation, for the files in `data`.

    A file is found by its name as it was given there, else by its last part. FileNotFoundError
    without episodes.jsonl; ValueError where a problem's text or code run is missing.
    """
    judged: dict[str, dict[str, list[Judged]]] = {}
    for number, row in jsonl.read(path / results_folder.EPISODES):
        try:
            one = Judged.of_row(row)
            group = judged.setdefault(str(row["file"]), {}).setdefault(one.guide, [])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path / results_folder.EPISODES}:{number}: not an episode, {error!r}."
            ) from error
        group.append(one)
    found: dict[str, Mapping[str, Sequence[Judged]]] = {}
    for file, problems in data.items():
        same = [name for name in judged if name == file] or [
            name for name in judged if Path(name).name == Path(file).name
        ]
        if len(same) != 1:
            raise ValueError(
                f"--oracle {path}: needed the runs of {file!r} once, it has {sorted(judged)}."
            )
        found[file] = judged[same[0]]
        for decision in DECISIONS:
            have = {one.problem_id for one in found[file].get(decision, ())}
            lacking = [problem.id for problem in problems if problem.id not in have]
            if lacking:
                raise ValueError(
                    f"--oracle {path}: {file!r} lacks {decision} runs of {len(lacking)} problems, "
                    f"e.g. {lacking[0]!r}; make them with --decision text code."
                )
    return found
