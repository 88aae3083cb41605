"""`acim evaluate --model M --data F …`: accuracy and decisions of a model on problem files."""

import argparse
import contextlib
import functools
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acim_jax import bad_input
from acim_jax.cli import checks, console, input_records, options
from acim_jax.environment.config import ExecutorConfig
from acim_jax.evaluation import episode_records, pipeline, results_folder
from acim_jax.evaluation.pipeline import Task
from acim_jax.grading.config import GraderConfig
from acim_jax.records import GUIDES, Guide
from acim_jax.rollout.sampler import Sampler
from acim_jax.run import compilation, manifest

log = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Makes the rollouts that are missing, then the tables."""
    compilation.enable_cache()
    with contextlib.ExitStack() as stack:
        with bad_input.reading():
            data = input_records.problems(args)
            forced = None if args.oracle is None else episode_records.forced_runs(args.oracle, data)
            executor = checks.section(ExecutorConfig, "executor", args)
            grader = checks.section(GraderConfig, "grader", args)
            model = options.open_model(args)
            guides: list[Guide] = [guide for guide in GUIDES if guide in args.decision]
            questions = (problem.question for problems in data.values() for problem in problems)
            sampler, _ = options.make_sampler(
                model, questions, guides, slots=args.slots, max_length=args.max_length
            )
            sampling = checks.sampling_params(args)
            task = Task(data, dict.fromkeys(data, guides), args.samples, sampling, args.seed)
            settings = pipeline.settings_of(
                task, sampler, executor, grader, model=model.name, step=model.step
            )
            results_folder.check(args.out, settings)
            solver, settings["weights"] = options.open_solver(
                stack, model, sampler, executor, grader
            )
        display = stack.enter_context(console.Display())
        args.resume_hint = args.command_line
        results = pipeline.run(
            solver,
            task,
            args.out,
            settings,
            bar=functools.partial(display.rollouts, "rollouts"),
            forced=forced,
            conditions={
                "oracle": None if args.oracle is None else str(args.oracle),
                "packages": manifest.package_versions(),
                "hardware": manifest.hardware(),
            },
        )
    _report(results, sampler)
    if args.json:
        print(json.dumps(results))
    return 0


def _report(results: Mapping[str, Any], sampler: Sampler) -> None:
    """The figures as a small table, and what a reader of them should know."""
    lines: list[tuple[str, ...]] = []
    for file, by_guide in results["data"].items():
        decided = by_guide.get("decisions", {}).get("selection_accuracy")
        for guide in (guide for guide in GUIDES if guide in by_guide):
            row, name = by_guide[guide], Path(file).name
            spread = "" if row["stderr"] is None else f" ± {row['stderr']:.3f}"
            selection = "" if guide != "native" or decided is None else f"{decided:.3f}"
            figures = (f"{row['accuracy']:.3f}{spread}", f"{row['code_rate']:.2f}", selection)
            lines.append((name, guide, str(row["n"]), *figures))
            _warn(f"{name}, {guide}", row["stops"], sampler)
    columns = ("data", "decision", "n", "accuracy", "code rate", "selection")
    console.print_table(f"{results['model']}, {results['seconds']:.0f} s", columns, lines, names=2)


def _warn(what: str, stops: Mapping[str, int], sampler: Sampler) -> None:
    length, total = sampler.config.max_length, sum(stops.values())
    longer = "" if length == sampler.model.max_positions else "; raise --max-length"
    for stop, tolerated, text in (
        ("prompt", 0.0, f"prompts do not fit into {length} tokens and count as wrong{longer}"),
        ("length", 0.05, f"rollouts were cut off at {length} tokens (--max-length)"),
        ("infra", 0.0, "rollouts failed in the executor itself and count as wrong"),
    ):
        if stops.get(stop, 0) > tolerated * total:
            log.warning("%s: %d of %d %s", what, stops[stop], total, text)
