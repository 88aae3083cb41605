"""`acim demonstrate --model M --data F … --out G`: demonstrations that the model makes itself."""

import argparse
import contextlib
import functools
import json
import logging
import sys
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import checks, console, input_records, options
from acim_jax.evaluation import own_demonstrations, pipeline, results_folder
from acim_jax.evaluation.own_demonstrations import REASONS, Harvest
from acim_jax.files import jsonl
from acim_jax.records import DECISIONS
from acim_jax.run import compilation

log = logging.getLogger(__name__)


def rollouts_folder(out: Path) -> Path:
    """Where the rollouts that `out` is made of are kept."""
    return out.with_name(f"{out.name}.rollouts")


def run(args: argparse.Namespace) -> int:
    """Makes the rollouts that are missing, then the file; exits 1 where a decision has none."""
    compilation.enable_cache()
    folder = rollouts_folder(args.out)
    with contextlib.ExitStack() as stack:
        with bad_input.reading():
            data = input_records.problems(args, split="train")
            model = options.open_model(args)
            task = own_demonstrations.task(
                data,
                model.markup,
                samples=args.samples,
                sampling=checks.sampling_params(args),
                seed=args.seed,
            )
            solver, settings = options.open_task(stack, args, model, task, folder)
        display = stack.enter_context(console.Display())
        args.resume_hint = args.command_line
        bar = functools.partial(display.rollouts, "rollouts")
        results = pipeline.run(solver, task, folder, settings, bar=bar)
    records = (record for _, record in jsonl.read(folder / results_folder.EPISODES))
    made = own_demonstrations.harvest(
        records, data, model.tokenizer, model.markup, seed=args.seed, choice=args.choose
    )
    _show(made, args.out)
    if not made.demonstrations:
        print(f"acim: {_nothing(made, folder)}", file=sys.stderr)
        return 1
    jsonl.write(
        args.out,
        ({"id": d.id, "problem": d.question, "response": d.response} for d in made.demonstrations),
    )
    if args.json:
        seconds = results["seconds"]
        print(json.dumps({"out": str(args.out), "decisions": made.counts, "seconds": seconds}))
    return 0


def _show(made: Harvest, out: Path) -> None:
    lines = [
        (_words(name), *(str(made.counts[d][name]) for d in DECISIONS))
        for name in made.counts[DECISIONS[0]]
    ]
    console.print_table(str(out), ("", *DECISIONS), lines)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _nothing(made: Harvest, folder: Path) -> str:
    """Why there are no demonstrations, and what could be done about it."""
    told: list[str] = []
    for decision, counts in made.counts.items():
        reasons = (f"{counts[name]} {_words(name)}" for name in REASONS if counts[name])
        told.append(f"of {counts['rollouts']} {decision} rollouts {', '.join(reasons)}")
    return (
        f"no file is written, since demonstrations of both decisions are needed: "
        f"{'; '.join(told)}. Give more problems, more --samples or a larger --max-length; or other "
        "hints or prefixes (text_hint, code_hint, text_prefixes, code_prefixes in acim.yaml or "
        "--markup); and a new --out. "
        f"The rollouts stand in {folder / results_folder.EPISODES}."
    )
