"""The command line of `acim report`."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Writes one HTML page with the curves, tables and episodes of the runs given. The page opens offline
and loads nothing."""
EXAMPLES = """\
examples:
  acim report runs/em-seed0 runs/rl-seed0 --out report.html
  acim report runs/quickstart --out report.html      (an experiment folder: all of its runs)
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a run folder or an experiment folder"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html", help="the page")
    parser.add_argument("--title", help="the page's title")
    parser.set_defaults(check=check)


def check(args: argparse.Namespace) -> None:
    """Checks that the runs are folders, and that the page can be written."""
    for run in args.runs:
        if not run.is_dir():
            raise FileNotFoundError(f"{run} is not a folder; give run or experiment folders.")
    if args.out.is_dir():
        raise ValueError(f"--out {args.out} is a folder; give the name of the HTML file to write.")
