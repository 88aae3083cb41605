"""An evaluation, batch by batch into its folder: what `acim evaluate` and every run go through.

An evaluation that was interrupted goes on after the batches that stand in the folder, and after the
rollouts of the batch at work that its journal holds.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from acim_jax import bad_input, own_code
from acim_jax.data import problems as problem_files
from acim_jax.environment.config import ExecutorConfig
from acim_jax.evaluation import (
    calls,
    comparable,
    episode_records,
    results_folder,
    rollouts,
    tables,
)
from acim_jax.evaluation.episode_records import Judged, Judgements
from acim_jax.evaluation.results_folder import ResultsFolder
from acim_jax.evaluation.rollouts import Solver
from acim_jax.grading.config import GraderConfig
from acim_jax.markup import Markup
from acim_jax.records import GUIDES, Guide, Problem, RolloutRequest, SamplingParams
from acim_jax.rollout import journal
from acim_jax.rollout.progress import Progress
from acim_jax.rollout.sampler import Sampler

#: Rollouts of a batch per row slot: enough that rows which finish late idle few of the others.
BATCH_PER_SLOT = 8

Settings = dict[str, Any]
#: Rollouts that are made together and kept together, with the name of their problems.
Batch = tuple[str, Sequence[RolloutRequest]]
#: Opens a progress bar for a number of rollouts.
Bar = Callable[[int], contextlib.AbstractContextManager[Progress]]


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What is asked. problems: by name (a file, or `test`). guides: of each name's problems.

    requests: the rollouts of problems under guides, with so many samples of each.
    """

    problems: Mapping[str, Sequence[Problem]]
    guides: Mapping[str, Sequence[Guide]]
    samples: int
    sampling: SamplingParams
    seed: int
    requests: Callable[[Sequence[Problem], Sequence[Guide], Markup, int], list[RolloutRequest]] = (
        rollouts.requests
    )


def settings_of(
    task: Task,
    sampler: Sampler,
    executor: ExecutorConfig,
    grader: GraderConfig,
    *,
    model: str,
    step: int | None,
) -> Settings:
    """What decides the numbers, but for the weights: `run` wants their fingerprint as `weights`."""
    limits = dataclasses.asdict(executor)
    del limits["workers"]
    used = {guide for guides in task.guides.values() for guide in guides}
    return {
        "model": model,
        "step": step,
        "data": {file: problem_files.fingerprint(of) for file, of in task.problems.items()},
        "decisions": [guide for guide in GUIDES if guide in used],
        "samples": task.samples,
        **dataclasses.asdict(task.sampling),
        "seed": task.seed,
        "markup": dataclasses.asdict(sampler.markup),
        "slots": sampler.config.slots,
        "max_length": sampler.config.max_length,
        "dtype": sampler.model.dtype,
        "executor": limits,
        "grader": dataclasses.asdict(grader),
        "own": {
            "reward": own_code.digest(grader.reward) if grader.reward else None,
            "tools": sorted(map(own_code.digest, executor.tools)),
        },
    }


def run(
    solver: Solver,
    task: Task,
    path: Path,
    settings: Settings,
    *,
    bar: Bar,
    forced: Judgements | None = None,
    conditions: Mapping[str, Any] | None = None,
    write_more: Callable[[Judgements], None] = lambda _: None,
) -> dict[str, Any]:
    """Makes the rollouts that the folder lacks, then its tables; returns its results.json.

    forced: runs that decisions are judged by, instead of the task's own. conditions: more
    for `config` in results.json, which could change numbers only by accident. write_more: writes
    further files of the folder, before results.json says that it is finished. Raises `BadInput` for
    a folder of something else, with other settings, in use, or changed by hand.
    """
    batches = _plan(task, solver.sampler)
    sizes = [len(requests) for _, requests in batches]
    with contextlib.ExitStack() as stack:
        with bad_input.reading():
            folder = stack.enter_context(results_folder.opened(path, settings, sizes))
        with bar(sum(sizes) - folder.kept) as progress:
            _make_missing(solver, task, batches, folder, progress)
        with bad_input.reading():
            judged = _collect(folder, task, batches)
        write_more(judged)
        parts = comparable.parts(settings)
        results = {
            "model": settings["model"],
            "data": tables.data(judged, task.samples, forced),
            "config": {
                **settings,
                "executor": dataclasses.asdict(solver.executor.config),
                "problems": {file: len(problems) for file, problems in task.problems.items()},
                **(conditions or {}),
            },
            "comparable": parts,
            "fingerprint": comparable.fingerprint(parts),
            "seed": task.seed,
            "seconds": folder.seconds(),
        }
        results_folder.write_json(path / results_folder.RESULTS, results)
    return results


def _plan(task: Task, sampler: Sampler) -> list[Batch]:
    """All rollouts, file by file and guide by guide; a batch holds problems of one file."""
    size = BATCH_PER_SLOT * sampler.config.slots
    batches: list[Batch] = []
    for file, problems in task.problems.items():
        wanted = task.requests(problems, task.guides[file], sampler.markup, task.samples)
        batches += [(file, wanted[at : at + size]) for at in range(0, len(wanted), size)]
    return batches


def _make_missing(
    solver: Solver,
    task: Task,
    batches: Sequence[Batch],
    folder: ResultsFolder,
    progress: Progress,
) -> None:
    end = 0
    for file, requests in batches:
        end += len(requests)
        if end <= folder.kept:
            continue
        path = folder.path / f"journal.{jax.process_index()}.jsonl"
        with journal.opened(path, {**folder.settings, "batch_end": end}) as kept:
            episodes = rollouts.run(
                solver,
                requests,
                sampling=task.sampling,
                seed=task.seed,
                progress=progress,
                journal=kept,
            )
            tokenizer, markup = solver.sampler.tokenizer, solver.sampler.markup
            records = [episode_records.episode_record(e, tokenizer, file=file) for e in episodes]
            asked = {request.problem.id: request.problem for request in requests}
            records = calls.with_calls(records, episodes, asked, solver.grader, tokenizer, markup)
            folder.append(records, kept.seconds)
        path.unlink()


def _collect(folder: ResultsFolder, task: Task, batches: Sequence[Batch]) -> Judgements:
    """Reads the folder's episodes; ValueError with file and line where one is not the planned."""
    judged: dict[str, dict[str, list[Judged]]] = {file: {} for file in task.problems}
    planned = ((file, request) for file, requests in batches for request in requests)
    for (file, request), (where, record) in zip(planned, folder.episodes(), strict=True):
        found = (record["file"], record["problem_id"], record["guide"], record["sample"])
        wanted = (file, request.problem.id, request.guide, request.index)
        if found != wanted:
            raise ValueError(
                f"{where}: the episode is {found}, the plan has {wanted} here; the file was "
                "changed by hand. Evaluate into another --out."
            )
        judged[file].setdefault(request.guide, []).append(Judged.of_record(record))
    return judged
