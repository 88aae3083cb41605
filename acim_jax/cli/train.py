"""`acim train CONFIG` and `acim train --resume RUN`: one run of EM, plain RL or warm-up SFT."""

import argparse
import sys
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import console, report
from acim_jax.config import run as config
from acim_jax.run import compilation, dry_run, launch, training
from acim_jax.run import folder as run_folder

_EXAMPLE = """\
examples:
  acim train configs/tiny_em.yaml --out runs/em
  acim train configs/tiny_em.yaml --seed 1 --explore.strategy posterior --dry-run
  acim train --resume runs/em
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command `train` to the parsers of `acim`."""
    parser = subparsers.add_parser(
        "train",
        help="one run: EM, plain RL or warm-up, or going on with one",
        description="Trains one run (method em, rl or sft) and writes its folder: metrics, "
        "checkpoints, rollouts, evaluations and a report.",
        epilog=_EXAMPLE,
    )
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="a run config, YAML")
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="the run's folder (default: runs/NAME-seedSEED)"
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with this run")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="resolve and check everything, print memory, programs and counts, do no work",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains, resumes, or prints what would be done."""
    if (args.config is None) == (args.resume is None):
        raise bad_input.BadInput("train needs a CONFIG, or --resume RUN, and not both.")
    if args.resume is not None:
        if args.overrides or args.out:
            raise bad_input.BadInput(
                "--resume goes on with the config stored in the run; it takes no other settings "
                "and no --out."
            )
        with bad_input.reading():
            run_folder.read_manifest(args.resume)
        compilation.enable_cache()
        args.resume_hint = f"acim train --resume {args.resume}"
        with console.Display() as display:
            launch.resume(args.resume, display)
        report.write_in_folder(args.resume)
        return 0
    with bad_input.reading():
        chosen = config.load(args.config, args.overrides)
    compilation.enable_cache()
    with bad_input.reading():
        prepared = training.prepare(chosen)
    if args.dry_run:
        console.console().print(dry_run.table(prepared))
        sys.stdout.write(config.dump(chosen))
        return 0
    name = chosen.run.name or args.config.stem
    out = args.out or Path("runs") / f"{name}-seed{chosen.seed}"
    args.resume_hint = f"acim train --resume {out}"
    with console.Display() as display:
        launch.start(prepared, out, display)
    report.write_in_folder(out)
    return 0
