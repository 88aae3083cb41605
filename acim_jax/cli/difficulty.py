"""`acim difficulty --model M [M …] --data F … --out G`: pass rates of models, and levels."""

import argparse
import contextlib
import functools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acim_jax import bad_input
from acim_jax.cli import checks, console, input_records, options
from acim_jax.data import levels, problem_records
from acim_jax.data.levels import PASS_RATE, Levels
from acim_jax.evaluation import difficulty, pipeline
from acim_jax.evaluation.difficulty import Columns, Labelled
from acim_jax.evaluation.episode_records import Judgements
from acim_jax.evaluation.pipeline import Task
from acim_jax.files import jsonl
from acim_jax.records import Guide, Problem
from acim_jax.run import compilation

log = logging.getLogger(__name__)

Data = Mapping[str, Sequence[Problem]]


def run(args: argparse.Namespace) -> int:
    """Makes the rollouts that are missing, model by model, then the file."""
    with bad_input.reading():
        data = input_records.problems(args, split="train")
        problems = _distinct(data)
        columns = {problem.id: _record(problem) for problem in problems}
        there = dict.fromkeys(name for of_problem in columns.values() for name in of_problem)
        scored = [n.removeprefix(PASS_RATE) for n in there if n.startswith(PASS_RATE)]
        models = {levels.model_name(model): model for model in args.model}
        names = [*models, *(name for name in scored if name not in models)]
        roles = levels.roles(args.roles, names)
        predicates = _known_levels(args, {*there, *names, *roles, *map(PASS_RATE.__add__, names)})
    compilation.enable_cache()
    args.resume_hint = args.command_line
    for name, model in models.items():
        for problem_id, of_model in _score(args, name, model, data).items():
            columns[problem_id] |= of_model
    made = difficulty.label(
        problems, columns, predicates, roles, names, unsolved=args.unsolved, seed=args.seed
    )
    jsonl.write(
        args.out,
        ({**columns[problem_id], "levels": met} for problem_id, met in made.levels.items()),
    )
    told = _told(args.out, columns, names, predicates, made)
    _show(told, args.unsolved)
    if args.json:
        print(json.dumps(told))
    return 0


def _distinct(data: Data) -> list[Problem]:
    """The problems of all sources; ValueError for an id that stands in two of them."""
    found: dict[str, str] = {}
    for source, problems in data.items():
        for problem in problems:
            if problem.id in found:
                raise ValueError(
                    f"the id {problem.id!r} stands in {found[problem.id]} and in {source}; the "
                    "file to write would hold it twice. Rename one, or score them one by one."
                )
        found |= {problem.id: source for problem in problems}
    return [problem for problems in data.values() for problem in problems]


def _record(problem: Problem) -> Columns:
    """All fields of a problem; ValueError where one of them cannot be written."""
    record = problem_records.of_problem(problem)
    try:
        jsonl.line(record)
    except (TypeError, ValueError) as error:
        raise ValueError(f"problem {problem.id!r} does not fit into JSON: {error}.") from error
    return record


def _known_levels(args: argparse.Namespace, known: set[str]) -> Levels:
    """The levels of --levels; without it, those published ones whose roles there are.

    ValueError for a column that no problem will have.
    """
    if args.levels is None:
        published = levels.parse(levels.PUBLISHED, "the published levels")
        return {n: some for n, some in published.items() if levels.columns_of(some) <= known}
    for name, conditions in args.chosen.items():
        if unknown := sorted(levels.columns_of(conditions) - known):
            raise ValueError(
                f"{args.levels}: level {name} looks at {', '.join(unknown)}; there are the roles, "
                f"models and columns {', '.join(sorted(known))}."
            )
    return args.chosen


def _score(args: argparse.Namespace, name: str, model: str, data: Data) -> dict[str, Columns]:
    """One model's columns, from the rollouts in its folder beside --out. Its weights are let go at
    the end."""
    folder = args.out.with_name(f"{args.out.name}.rollouts") / name
    found: dict[str, Columns] = {}

    def take(judged: Judgements) -> None:
        found.update(difficulty.pass_rates(judged, name))

    with contextlib.ExitStack() as stack:
        with bad_input.reading():
            opened = options.open_model(argparse.Namespace(**{**vars(args), "model": model}))
            guides: dict[str, list[Guide]] = {source: [args.decision] for source in data}
            task = Task(data, guides, args.samples, checks.sampling_params(args), args.seed)
            solver, settings = options.open_task(stack, args, opened, task, folder)
        display = stack.enter_context(console.Display())
        bar = functools.partial(display.rollouts, name)
        results = pipeline.run(solver, task, folder, settings, bar=bar, write_more=take)
        for source, by_guide in results["data"].items():
            stops = dict(by_guide[args.decision]["stops"])
            if lost := stops.pop("infra", 0):
                log.warning("%s: %d rollouts, lost by the executor, do not count", name, lost)
            options.warn_of_stops(f"{Path(source).name}, {name}", stops, solver.sampler)
    return found


def _told(
    out: Path,
    columns: Mapping[str, Columns],
    names: Sequence[str],
    predicates: Levels,
    made: Labelled,
) -> dict[str, Any]:
    """What is told: how the models did, and how many problems have which level."""
    rates = {name: difficulty.rates(columns, name) for name in names}
    having = [str(level) for of_problem in made.levels.values() for level in of_problem]
    return {
        "out": str(out),
        "problems": len(made.levels),
        "models": {
            name: {
                "pass_rate": difficulty.mean_rate(columns, name),
                "never": sum(rate == 0 for rate in of_model),
                "sometimes": sum(0 < rate < 1 for rate in of_model),
                "always": sum(rate == 1 for rate in of_model),
            }
            for name, of_model in rates.items()
        },
        "strongest": made.strongest,
        "unsolved": made.unsolved,
        "levels": {name: having.count(name) for name in predicates},
        "without_level": sum(not of_problem for of_problem in made.levels.values()),
    }


def _show(told: Mapping[str, Any], unsolved: difficulty.Unsolved) -> None:
    lines = [
        (name, "" if of["pass_rate"] is None else f"{of['pass_rate']:.3f}",
         *(str(of[count]) for count in ("never", "sometimes", "always")))
        for name, of in told["models"].items()
    ]  # fmt: skip
    columns = ("model", "pass rate", "never", "sometimes", "always solved")
    console.print_table(f"{told['out']}: {told['problems']} problems", columns, lines)
    counts = [(name, str(count)) for name, count in told["levels"].items()]
    counts.append(("none", str(told["without_level"])))
    console.print_table("levels", ("level", "problems"), counts)
    if told["unsolved"]:
        fate = {"no-level": "have no level", "discard": "are left out", "keep": "are kept"}
        log.info(
            "%d problems that %s never solves %s (--unsolved)",
            *(told["unsolved"], told["strongest"], fate[unsolved]),
        )
