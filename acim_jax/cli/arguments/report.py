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
