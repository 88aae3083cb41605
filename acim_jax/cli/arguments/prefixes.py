"""The command line of `acim prefixes`."""

import argparse

from acim_jax.cli.arguments import shared

DESCRIPTION = """\
Shows how a model begins its responses, what each decision prefix costs it token by token, and
proposes prefixes that it would use. Run it before training a model: prefixes that the model never
writes make the estimate of pi(code|x) a comparison of wordings, and `acim train` refuses them."""
EXAMPLES = """\
examples:
  acim prefixes --model models/qwen2.5-coder-0.5b --data gsm8k_train.jsonl.gz \\
      --markup name=qwen2.5-math-tir
  acim prefixes --model models/mine --data train.jsonl --write     # into models/mine/acim.yaml
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    shared.add_model(parser)
    shared.add_several(
        parser,
        "--data",
        side_by_side=True,
        required=True,
        metavar="F",
        help=".jsonl, .jsonl.gz, .parquet, a datasets hub name, generated:NAME",
    )
    for option, default, metavar, text in (
        ("--limit", 16, "N", "problems asked, the first N of each file"),
        ("--samples", 4, "N", "responses begun per problem and prompt"),
        ("--tokens", 32, "T", "tokens of each"),
        ("--seed", 0, "S", "of sampling"),
    ):
        parser.add_argument(
            option, type=int, default=default, metavar=metavar, help=f"{text} (default {default})"
        )
    parser.add_argument(
        "--write", action="store_true", help="write the proposal into the model folder's acim.yaml"
    )
    parser.add_argument("--json", action="store_true", help="all figures on standard output")
    shared.add_markup(parser, side_by_side=True)
    parser.set_defaults(files=("data",))
