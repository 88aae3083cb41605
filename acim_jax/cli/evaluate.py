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
from acim_jax.evaluation import comparable, episode_records, pipeline, results_folder, tables
from acim_jax.evaluation.pipeline import Task
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
            model = options.open_model(args)
            guides: list[Guide] = [guide for guide in GUIDES if guide in args.decision]
            sampling = checks.sampling_params(args)
            task = Task(data, dict.fromkeys(data, guides), args.samples, sampling, args.seed)
            solver, settings = options.open_task(stack, args, model, task, args.out)
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
    _report(results, args.samples, solver.sampler)
    if args.oracle is not None:
        _compare(results, args.oracle)
    if args.json:
        print(json.dumps(results))
    return 0


def _report(results: Mapping[str, Any], samples: int, sampler: Sampler) -> None:
    """The figures as small tables, and what a reader of them should know."""
    k = str(tables.counts(samples)[-1])
    at = {"pass_at": f"pass@{k}", "maj_at": f"maj@{k}"} if samples > 1 else {}
    lines: list[tuple[str, ...]] = []
    decisions: list[tuple[str, ...]] = []
    calls: list[tuple[str, ...]] = []
    for file, by_guide in results["data"].items():
        decided = by_guide.get("decisions", {}).get("selection_accuracy")
        for guide in (guide for guide in GUIDES if guide in by_guide):
            row, name = by_guide[guide], Path(file).name
            figures = [_figure(row["accuracy"], row["stderr"])]
            figures += [_figure(row[field][k], row[f"{field}_stderr"][k]) for field in at]
            selection = _figure(decided) if guide == "native" else ""
            made = [f"{row['code_rate']:.2f}", selection, _figure(row["calls_per_solved"])]
            lines.append((name, guide, str(row["n"]), *figures))
            decisions.append((name, guide, *made))
            calls += _call_lines(name, guide, row)
            options.warn_of_stops(f"{name}, {guide}", row["stops"], sampler)
    accuracy = f"avg@{samples}" if samples > 1 else "accuracy"
    columns = ("data", "decision", "n", accuracy, *at.values())
    made = ("code rate", "selection", "calls/solved")
    title = f"{results['model']}, {results['seconds']:.0f} s, fingerprint {results['fingerprint']}"
    if at:  # a terminal of 80 columns holds only so many figures with their errors
        console.print_table(title, columns, lines, names=2)
        console.print_table("decisions", ("data", "decision", *made), decisions, names=2)
    else:
        both = [line + one[2:] for line, one in zip(lines, decisions, strict=True)]
        console.print_table(title, (*columns, *made), both, names=2)
    if calls:
        columns = ("data", "decision", "responses", "calls", "before answer", "ok", "ignored")
        console.print_table("calls", columns, calls, names=3)


def _figure(value: float | None, stderr: float | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + ("" if stderr is None else f" ± {stderr:.3f}")


def _call_lines(name: str, guide: str, row: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Of right and of wrong responses, where there are calls. Ignored is shown of right outputs."""
    return [
        (
            *(name, guide, f"{which}: {table['responses']}"),
            *(str(table[count]) for count in ("calls", "before_answer", "ok")),
            f"{table['ignored']} of {table['right_output']}",
        )
        for which, table in row["calls"].items()
        if table["calls"]
    ]


def _compare(results: Mapping[str, Any], oracle: Path) -> None:
    """Warns where the runs that judge the decisions were made otherwise than these."""
    path = oracle / results_folder.RESULTS
    judging = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "comparable" in judging:
        differing = comparable.differing([judging["comparable"], results["comparable"]])
        if differing:
            log.warning("the runs of --oracle were made with other %s", ", ".join(differing))
