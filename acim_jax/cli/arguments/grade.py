"""The command line of `acim grade`."""

import argparse

from acim_jax.cli.arguments import limits, shared

DESCRIPTION = """\
Grades every response of a JSONL file: exactly where that is possible, else by symbolic comparison
in a process that is killed at the timeout."""
EXAMPLES = r"""
example:
  echo '{"id": "1", "prediction": "so \\boxed{\\frac{1}{2}}", "answer": "0.5"}' > answers.jsonl
  acim grade --input answers.jsonl --output grades.jsonl

input:  {"id", "prediction", "answer"}; the prediction is a whole response, its last \boxed{...}
        counts, else a bare answer
output: {"id", "correct", "extracted", "method", "wall_s"}, in input order;
        method: exact, numeric, symbolic, timeout or none
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    shared.add_input_output(parser, "responses", "grades")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="seconds per symbolic comparison"
    )
    limits.add_grading(parser)
