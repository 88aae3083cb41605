"""The command line of `acim train`."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Trains one run (method em, rl or sft) and writes its folder: metrics, checkpoints, rollouts,
evaluations and a report.

Every field of the config can be set: --section.field VALUE, --method, --seed. `acim config` and
docs/config.md list the fields."""
EXAMPLES = """\
examples:
  acim train configs/tiny_em.yaml --out runs/em
  acim train configs/tiny_em.yaml --seed 1 --explore.strategy posterior --dry-run
  acim train --resume runs/em
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help="a run config, YAML")
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="the run's folder (default: runs/NAME-seedSEED)"
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with this run")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="resolve and check everything, print memory, executables and counts, do no work",
    )
    parser.set_defaults(files=("config",))
