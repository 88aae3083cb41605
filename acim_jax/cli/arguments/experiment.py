"""The command line of `acim experiment`."""

import argparse
from pathlib import Path

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
    """Adds the arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="an experiment, YAML")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many seeds to run")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/NAME")
    parser.add_argument("--resume", action="store_true", help="go on with what is in DIR")
    parser.set_defaults(files=("file",))
