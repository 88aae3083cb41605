"""The command line of `acim train`."""

import argparse
from pathlib import Path

from acim_jax.bad_input import BadInput
from acim_jax.checkpoint import model_names
from acim_jax.cli.arguments import shared
from acim_jax.config import run as config
from acim_jax.config.run import RunConfig
from acim_jax.run import folder as run_folder

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
    """Adds the arguments; `check` leaves the config read in `args.chosen` (None on --resume)."""
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
    parser.set_defaults(check=check, chosen=None)


def check(args: argparse.Namespace) -> None:
    """Reads the config, or the manifest of the run to go on with."""
    if (args.config is None) == (args.resume is None):
        raise BadInput("train needs a CONFIG, or --resume RUN, and not both.")
    if args.resume is not None:
        if args.overrides or args.out:
            raise BadInput(
                "--resume goes on with the config stored in the run; it takes no other settings "
                "and no --out."
            )
        run_folder.read_manifest(args.resume)
        return
    args.chosen = config.load(args.config, args.overrides)
    check_files(args.chosen)


def check_files(chosen: RunConfig) -> None:
    """FileNotFoundError for a model or a data file that does not exist."""
    data = chosen.data
    shared.check_data([*data.train, *data.validation, *data.test, data.demonstrations])
    model_names.check(chosen.model.path)
