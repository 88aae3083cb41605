"""`acim evaluate --model M --data F …`: accuracy and decisions of a model on problem files."""

import argparse
import contextlib
import dataclasses
import functools
import json
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.table

from acim_jax import bad_input
from acim_jax.checkpoint import fingerprint, model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.cli import checks, console, options
from acim_jax.data import problems as problem_files
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.evaluation import episode_records, pipeline, results_folder
from acim_jax.evaluation.episode_records import Judgements
from acim_jax.evaluation.pipeline import Settings, Task
from acim_jax.evaluation.rollouts import Solver
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.grader import Grader
from acim_jax.records import DECISIONS, GUIDES, Guide, Problem
from acim_jax.rollout.sampler import Sampler
from acim_jax.run import compilation, dry_run, manifest

log = logging.getLogger(__name__)

#: Of generated problems; not of sampling, so that several seeds are judged on the same problems.
DATA_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class _Prepared:
    """Checked input. settings: what decides the numbers, but for the weights' fingerprint."""

    model: ModelFolder
    sampler: Sampler
    task: Task
    forced: Judgements | None
    executor: ExecutorConfig
    grader: GraderConfig
    settings: Settings


def run(args: argparse.Namespace) -> int:
    """Makes the rollouts that are missing, then the tables."""
    compilation.enable_cache()
    with contextlib.ExitStack() as stack:
        with bad_input.reading():
            prepared = _prepare(args)
            results_folder.check(args.out, prepared.settings)
            params = model_folder.load_params(prepared.model, prepared.sampler.layout)
            settings = {**prepared.settings, "weights": fingerprint.of_params(params)}
            executor = stack.enter_context(Executor(prepared.executor))
            grader = stack.enter_context(Grader(prepared.grader, prepared.executor))
        display = stack.enter_context(console.Display())
        args.resume_hint = shlex.join(["acim", *sys.argv[1:]])
        results = pipeline.run(
            Solver(params, prepared.sampler, executor, grader),
            prepared.task,
            args.out,
            settings,
            progress=functools.partial(display.task, "rollouts"),
            forced=prepared.forced,
            conditions={
                "oracle": None if args.oracle is None else str(args.oracle),
                "packages": manifest.package_versions(),
                "hardware": manifest.hardware(),
            },
        )
    _report(results, prepared)
    if args.json:
        print(json.dumps(results))
    return 0


def _prepare(args: argparse.Namespace) -> _Prepared:
    """Reads and checks all input; ValueError or FileNotFoundError."""
    data = _read_problems(args)
    guides: list[Guide] = [guide for guide in GUIDES if guide in args.decision]
    forced = None if args.oracle is None else episode_records.forced_runs(args.oracle, data)
    executor, grader = checks.executor_config(args), checks.grader_config(args)
    model = options.open_model(args)
    sampler = _sampler(args, model, [p for problems in data.values() for p in problems], guides)
    log.info(dry_run.check_sampler(sampler))
    sampling = checks.sampling_params(args)
    task = Task(data, dict.fromkeys(data, guides), args.samples, sampling, args.seed)
    settings = pipeline.settings_of(
        task, sampler, executor, grader, model=model.name, step=model.step
    )
    return _Prepared(model, sampler, task, forced, executor, grader, settings)


def _read_problems(args: argparse.Namespace) -> dict[str, list[Problem]]:
    mapping: dict[str, str] = {}
    for pair in args.map:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise ValueError(f"--map takes OURS=THEIRS, e.g. problem=question; got {pair!r}.")
        mapping[ours] = theirs
    data: dict[str, list[Problem]] = {}
    for source in args.data:
        if source in data:
            raise ValueError(f"--data names {source} twice.")
        data[source] = problem_files.load(
            source, limit=args.limit, seed=DATA_SEED, mapping=mapping or None
        )
        for problem in data[source]:
            checks.check_text(problem.question, f"{source}: problem {problem.id!r}")
    return data


def _sampler(
    args: argparse.Namespace,
    model: ModelFolder,
    problems: Sequence[Problem],
    guides: Sequence[Guide],
) -> Sampler:
    """A sampler for the longest prompt with the longest prefix that a guide forces."""
    forced = [model.markup.prefixes(guide)[0] for guide in guides if guide in DECISIONS]
    prefix = max((len(model.tokenizer.encode(text)) for text in forced), default=0)
    prompts = (model.tokenizer.prompt_ids(p.question, model.markup) for p in problems)
    layout, shares = options.sample_layout()
    sampling = options.sampling_config(
        model,
        max(len(ids) for ids in prompts) + prefix,
        slots=-(-args.slots // shares) * shares,
        max_length=args.max_length,
    )
    return Sampler(model.config, sampling, model.tokenizer, model.markup, layout)


def _report(results: Mapping[str, Any], prepared: _Prepared) -> None:
    """The figures as a small table, and what a reader of them should know."""
    table = rich.table.Table(title=f"{prepared.model.name}, {results['seconds']:.0f} s")
    for column in ("data", "decision", "n", "accuracy", "code rate", "selection"):
        table.add_column(column, justify="left" if column in ("data", "decision") else "right")
    for file, by_guide in results["data"].items():
        decided = by_guide.get("decisions", {}).get("selection_accuracy")
        for guide in GUIDES:
            if guide in by_guide:
                row = by_guide[guide]
                spread = "" if row["stderr"] is None else f" ± {row['stderr']:.3f}"
                table.add_row(
                    Path(file).name,
                    guide,
                    str(row["n"]),
                    f"{row['accuracy']:.3f}{spread}",
                    f"{row['code_rate']:.2f}",
                    "" if guide != "native" or decided is None else f"{decided:.3f}",
                )
                _warn(Path(file).name, guide, row["stops"], prepared)
    console.console().print(table)


def _warn(file: str, guide: str, stops: Mapping[str, int], prepared: _Prepared) -> None:
    length, total = prepared.sampler.config.max_length, sum(stops.values())
    if stops.get("prompt"):
        log.warning(
            "%s, %s: %d of %d prompts do not fit into %d tokens and count as wrong%s",
            *(file, guide, stops["prompt"], total, length),
            "" if length == prepared.model.config.max_positions else "; raise --max-length",
        )
    if stops.get("length", 0) > 0.05 * total:
        log.warning(
            "%s, %s: %d of %d rollouts were cut off at %d tokens (--max-length)",
            *(file, guide, stops["length"], total, length),
        )
    if stops.get("infra"):
        log.warning(
            "%s, %s: %d of %d rollouts failed in the executor itself and count as wrong",
            *(file, guide, stops["infra"], total),
        )
