"""The command line of `acim experiment`."""

import argparse
from pathlib import Path

from acim_jax.cli.arguments import train
from acim_jax.config import experiment as config

DESCRIPTION = """\
Runs every arm of FILE with every seed from one warmed-up checkpoint, one after another, and
compares them in one report.

Every field of the config can be set, for all arms: --section.field VALUE, --method. `acim config`
and docs/config.md list the fields."""
EXAMPLES = """\
examples:
  acim experiment configs/quickstart.yaml --out runs/quickstart
  acim experiment configs/quickstart.yaml --out runs/quickstart --resume
  acim experiment configs/quickstart.yaml --seeds 1 --run.iterations 4 --out runs/short
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments; `check` leaves the experiment read in `args.chosen`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="an experiment, YAML")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many seeds to run")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/NAME")
    parser.add_argument("--resume", action="store_true", help="go on with what is in DIR")
    parser.set_defaults(check=check)


def check(args: argparse.Namespace) -> None:
    """Reads the experiment."""
    args.chosen = config.load(args.file, args.seeds, args.overrides)
    for arm in args.chosen.arms.values():
        train.check_files(arm.runs[args.chosen.seeds[0]])
