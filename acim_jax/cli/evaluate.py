"""`acim evaluate --model M --data F …`: accuracy and decisions of a model on problem files."""

import argparse
import contextlib
import dataclasses
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
from acim_jax.cli import console, grading_options, options
from acim_jax.data import problems as problem_files
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.evaluation import results_folder, resumable
from acim_jax.evaluation.resumable import Batch, Judgements
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.grader import Grader
from acim_jax.records import DECISIONS, GUIDES, Guide, Problem
from acim_jax.rollout.sampler import Sampler
from acim_jax.run import compilation, dry_run, manifest

log = logging.getLogger(__name__)

#: Of generated problems; not of sampling, so that several seeds are judged on the same problems.
DATA_SEED = 0
_EXAMPLE = """\
examples:
  acim evaluate --model tiny --data generated:arithmetic --limit 200 \\
      --decision native text code --out results/tiny
  acim evaluate --model runs/em --data gsm8k_test.jsonl --samples 4 --temperature 0.7 \\
      --out results/em

writes DIR/results.json (the figures) and DIR/episodes.jsonl (every rollout); the same command
again goes on after what is there. `text` switches the executor off, `code` forces the code prefix.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command `evaluate` to the parsers of `acim`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="accuracy and decisions of a model on problem files",
        description="Solves the problems of the files with the model's own decisions, with text "
        "alone, or with code, and says how often each is right and how well it decided.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_model(parser)
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="F",
        help=".jsonl, .jsonl.gz, .parquet, a datasets hub name, generated:NAME (with --limit)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--decision", nargs="+", choices=GUIDES, default=["native"], help="default: native"
    )
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="rollouts per problem")
    options.add_sampling(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="the first N problems of each file")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of sampling (default 0)")
    parser.add_argument(
        "--map",
        nargs="+",
        default=[],
        metavar="OURS=THEIRS",
        help="names of fields in the files, e.g. problem=question",
    )
    parser.add_argument(
        "--oracle", type=Path, metavar="DIR", help="judge decisions by the forced runs in DIR"
    )
    parser.add_argument("--json", action="store_true", help="results.json on standard output, too")
    options.add_markup(parser)
    group = parser.add_argument_group("sampler")
    slots_help = "rows that decode at once (default 64)"
    group.add_argument("--slots", type=int, default=64, metavar="N", help=slots_help)
    group.add_argument(
        "--max-length",
        type=int,
        metavar="T",
        help="tokens of a row: prompt, response, outputs (default: fits the longest prompt)",
    )
    options.add_executor(parser)
    grading_options.add(parser)
    parser.set_defaults(run=run)


@dataclasses.dataclass(frozen=True, eq=False)
class _Prepared:
    """Checked input. settings: what decides the numbers, but for the weights' fingerprint."""

    model: ModelFolder
    sampler: Sampler
    data: Mapping[str, Sequence[Problem]]
    batches: Sequence[Batch]
    oracle: Judgements | None
    executor: ExecutorConfig
    grader: GraderConfig
    settings: Mapping[str, Any]


def run(args: argparse.Namespace) -> int:
    """Makes the rollouts that are missing, then the tables."""
    compilation.enable_cache()
    with contextlib.ExitStack() as stack:
        with bad_input.reading():
            prepared = _prepare(args)
            results_folder.check(args.out, prepared.settings)
            params = model_folder.load_params(prepared.model, prepared.sampler.layout)
            settings = {**prepared.settings, "weights": fingerprint.of_params(params)}
            sizes = [len(batch.requests) for batch in prepared.batches]
            executor = stack.enter_context(Executor(prepared.executor))
            grader = stack.enter_context(Grader(prepared.grader, prepared.executor))
            folder = stack.enter_context(results_folder.opened(args.out, settings, sizes))
        args.resume_hint = shlex.join(["acim", *sys.argv[1:]])
        display = stack.enter_context(console.Display())
        with display.task("rollouts", sum(sizes) - folder.kept) as advance:
            resumable.run(
                params,
                prepared.batches,
                folder,
                prepared.sampler,
                executor,
                grader,
                sampling=options.sampling_params(args),
                seed=args.seed,
                on_done=advance,
            )
        with bad_input.reading():
            collected = resumable.collect(folder, prepared.batches)
        results = {
            "model": prepared.model.name,
            "data": resumable.tables(collected, args.samples, prepared.oracle),
            "config": _config(settings, prepared, args.oracle),
            "seed": args.seed,
            "seconds": folder.seconds(),
        }
        folder.finish(results)
    _report(results, prepared)
    if args.json:
        print(json.dumps(results))
    return 0


def _prepare(args: argparse.Namespace) -> _Prepared:
    """Reads and checks all input; ValueError or FileNotFoundError."""
    if args.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {args.samples}.")
    options.check_sampling(args)
    if args.temperature == 0 and args.samples > 1:
        raise ValueError(
            f"--samples {args.samples} at temperature 0 would make equal rollouts; give a "
            "--temperature above 0."
        )
    data = _read_problems(args)
    guides: list[Guide] = [guide for guide in GUIDES if guide in args.decision]
    oracle = None if args.oracle is None else resumable.read_oracle(args.oracle, data)
    if oracle is not None and "native" not in guides:
        raise ValueError("--oracle judges the model's own decisions; add native to --decision.")
    executor = options.executor_config(args)
    grader = grading_options.read(args)
    model = options.open_model(args)
    layout, shares = options.sample_layout()
    sampling = options.sampling_config(
        model,
        _longest(model, [problem for problems in data.values() for problem in problems], guides),
        slots=-(-args.slots // shares) * shares,
        max_length=args.max_length,
    )
    sampler = Sampler(model.config, sampling, model.tokenizer, model.markup, layout)
    log.info(dry_run.check_sampler(sampler))
    limits = dataclasses.asdict(executor)
    del limits["workers"]
    settings: dict[str, Any] = {
        "model": model.name,
        "step": model.step,
        "data": {file: fingerprint.of_problems(problems) for file, problems in data.items()},
        "decisions": guides,
        "samples": args.samples,
        **dataclasses.asdict(options.sampling_params(args)),
        "seed": args.seed,
        "markup": dataclasses.asdict(model.markup),
        "slots": sampling.slots,
        "max_length": sampling.max_length,
        "dtype": model.config.dtype,
        "executor": limits,
        "grader": dataclasses.asdict(grader),
    }
    batches = resumable.plan(data, guides, sampler, args.samples)
    return _Prepared(model, sampler, data, batches, oracle, executor, grader, settings)


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
            options.check_text(problem.question, f"{source}: problem {problem.id!r}")
    return data


def _longest(model: ModelFolder, problems: Sequence[Problem], guides: Sequence[str]) -> int:
    """Tokens of the longest prompt with the longest prefix that a guide forces."""
    forced = [model.markup.prefixes(guide)[0] for guide in guides if guide in DECISIONS]
    prefix = max((len(model.tokenizer.encode(text)) for text in forced), default=0)
    prompts = (model.tokenizer.prompt_ids(p.question, model.markup) for p in problems)
    return max(len(ids) for ids in prompts) + prefix


def _config(
    settings: Mapping[str, Any], prepared: _Prepared, oracle: Path | None
) -> dict[str, Any]:
    """Everything that was used: the settings, and what could change numbers only by accident."""
    return {
        **settings,
        "executor": dataclasses.asdict(prepared.executor),
        "problems": {file: len(problems) for file, problems in prepared.data.items()},
        "oracle": None if oracle is None else str(oracle),
        "packages": manifest.package_versions(),
        "hardware": manifest.hardware(),
    }


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
