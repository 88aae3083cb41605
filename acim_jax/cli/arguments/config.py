"""The command line of `acim config`."""

import argparse

DESCRIPTION = """\
Lists the fields of a run's config: type, default, and what each is. docs/config.md is the same
list. A config file sets them, or `acim train CONFIG --section.field VALUE`."""
EXAMPLES = """\
examples:
  acim config
  acim config improve
  acim config --json
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("section", nargs="?", metavar="SECTION", help="this section alone")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
