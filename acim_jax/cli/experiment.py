"""`acim experiment FILE`: named arms × seeds that share a warm-up, then the report."""

import argparse
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import console, report, results_table
from acim_jax.config import run as config
from acim_jax.run import compilation, experiment

_EXAMPLE = """\
examples:
  acim experiment configs/quickstart.yaml --out runs/quickstart
  acim experiment configs/quickstart.yaml --out runs/quickstart --resume
  acim experiment configs/quickstart.yaml --seeds 1 --run.iterations 4 --out runs/short
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command `experiment` to the parsers of `acim`."""
    parser = subparsers.add_parser(
        "experiment",
        help="named arms × seeds, then the report",
        description="Runs every arm of FILE with every seed from one warmed-up checkpoint, one "
        "after another, and compares them in one report.",
        epilog=_EXAMPLE,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="an experiment, YAML")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many seeds to run")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/NAME")
    parser.add_argument("--resume", action="store_true", help="go on with what is in DIR")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs what is not finished yet and writes results.json and report.html."""
    with bad_input.reading():
        chosen = config.load_experiment(args.file, args.seeds, args.overrides)
    compilation.enable_cache()
    out = args.out or Path("runs") / chosen.name
    args.resume_hint = f"acim experiment {args.file} --out {out} --resume"
    with console.Display() as display:
        experiment.run(chosen, out, display, resume=args.resume, on_finished=report.write_in_folder)
    report.write_in_folder(out)
    console.console().print(results_table.experiment(out / "results.json"))
    console.console().print(f"report: {out / 'report.html'}", soft_wrap=True)
    return 0
