"""`acim report RUN [RUN …] --out FILE.html`: one self-contained page from run folders."""

import argparse
import logging
import sys
from pathlib import Path

from acim_jax.report import page

log = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Writes the page; FileNotFoundError and ValueError are bad input."""
    out = page.write(args.runs, args.out, title=args.title or page.TITLE)
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)", file=sys.stderr)
    return 0


def write_in_folder(folder: Path) -> None:
    """The report of a run or an experiment, as report.html in its own folder."""
    log.info("report: %s", page.write([folder], folder / "report.html"))
