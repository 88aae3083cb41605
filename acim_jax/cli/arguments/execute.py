"""The command line of `acim execute`."""

import argparse

from acim_jax.cli.arguments import limits, shared
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.sandbox import protection

DESCRIPTION = """\
Runs every program of a JSONL file in its own confined process. What the executor does not protect
from stands in docs/executor.md."""
EXAMPLES = """\
example:
  echo '{"id": "a", "code": "print(6 * 7)"}' > programs.jsonl
  acim execute --input programs.jsonl --output results.jsonl --workers 2 --timeout 5

input:  {"id", "code", "timeout"?}
output: {"id", "status", "stdout", "stderr", "truncated", "wall_s"}, in input order;
        status: ok, error, timeout, memory, killed, blocked or infra
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    defaults = ExecutorConfig()
    shared.add_input_output(parser, "programs", "results")
    limits.add_executor(parser, side_by_side=True)
    parser.add_argument(
        "--output-chars",
        type=int,
        default=defaults.output_chars,
        metavar="N",
        help="characters kept of stdout and of stderr",
    )
    parser.add_argument(
        "--min-protection",
        choices=protection.LEVELS,
        default=defaults.min_protection,
        help="refuse to run with less than this (default %(default)s; see `acim doctor`)",
    )
