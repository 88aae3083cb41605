"""`acim report RUN [RUN …] --out FILE.html`: one self-contained page from run folders."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

_EXAMPLE = """\
example:
  acim report runs/em-seed0 runs/rl-seed0 --out report.html
  acim report runs/quickstart --out report.html      (an experiment folder: all of its runs)
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command `report` to the parsers of `acim`."""
    parser = subparsers.add_parser(
        "report",
        help="one self-contained HTML page from run folders",
        description="Writes one HTML page with the curves, tables and episodes of the runs given. "
        "The page opens offline and loads nothing.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a run folder or an experiment folder"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html", help="the page")
    parser.add_argument("--title", help="the page's title")
    parser.set_defaults(run=run)


def write_in_folder(folder: Path) -> None:
    """The report of a run or an experiment, as report.html in its own folder."""
    log.info("report: %s", _write([folder], folder / "report.html", None))


def run(args: argparse.Namespace) -> int:
    """Writes the page; FileNotFoundError and ValueError are bad input."""
    if args.out.is_dir():
        raise ValueError(f"--out {args.out} is a folder; give the name of the HTML file to write.")
    page = _write(args.runs, args.out, args.title)
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)", file=sys.stderr)
    return 0


def _write(runs: Sequence[Path], out: Path, title: str | None) -> Path:
    # plotly and jinja2 take a second of CPU to import, which only a page is worth.
    from acim_jax.report import write

    return write.write_report(runs, out, title=title or write.TITLE)
