"""The command line of `acim ask`."""

import argparse

from acim_jax.cli.arguments import limits, shared

DESCRIPTION = "Solves one problem, showing text, code, output and answer as they come."
EXAMPLES = """\
examples:
  acim ask --model tiny "What is 79 times 92?"
  acim ask --model tiny --decision text "What is 79 times 92?"
  acim ask --model models/math --markup name=qwen2.5-math-tir "What is 79 times 92?"
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    shared.add_model(parser)
    parser.add_argument("question", metavar="QUESTION", help="the problem, in quotes")
    parser.add_argument(
        "--decision", choices=shared.GUIDES, default="native", help="default: the model's own"
    )
    shared.add_sampling(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of sampling (default 0)")
    parser.add_argument(
        "--max-length", type=int, metavar="T", help="tokens of prompt, response and outputs"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    shared.add_markup(parser, side_by_side=False)
    limits.add_executor(parser, side_by_side=False)
