"""The command line of `acim doctor`."""

import argparse

DESCRIPTION = """\
Says which devices, package versions and executor protection this machine has, and where compiled
functions are kept."""
EXAMPLES = """\
examples:
  acim doctor
  acim doctor --json | python3 -m json.tool
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
