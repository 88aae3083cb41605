"""The command line of `acim evaluate`."""

import argparse
from pathlib import Path

from acim_jax.cli.arguments import limits, shared

DESCRIPTION = """\
Solves the problems of the files with the model's own decisions, with text alone, or with code, and
says how often each is right and how well it decided."""
EXAMPLES = """\
examples:
  acim evaluate --model tiny --data generated:arithmetic --limit 200 \\
      --decision native text code --out results/tiny
  acim evaluate --model runs/em --data gsm8k_test.jsonl --samples 4 --temperature 0.7 \\
      --out results/em

writes DIR/results.json (the figures) and DIR/episodes.jsonl (every rollout); the same command
again goes on after what is there. `text` switches the executor off, `code` forces the code prefix.
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
        help=".jsonl, .jsonl.gz, .parquet, a datasets hub name, generated:NAME (with --limit)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    shared.add_several(
        parser,
        "--decision",
        side_by_side=True,
        among=shared.GUIDES,
        default=["native"],
        metavar="D",
        help=f"{', '.join(shared.GUIDES)} (default: native)",
    )
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="rollouts per problem")
    shared.add_sampling(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="the first N problems of each file")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of sampling (default 0)")
    shared.add_several(
        parser,
        "--map",
        side_by_side=True,
        metavar="OURS=THEIRS",
        help="names of fields in the files, e.g. problem=question",
    )
    parser.add_argument(
        "--oracle", type=Path, metavar="DIR", help="judge decisions by the forced runs in DIR"
    )
    parser.add_argument("--json", action="store_true", help="results.json on standard output, too")
    shared.add_markup(parser, side_by_side=True)
    group = parser.add_argument_group("sampler")
    slots_help = "conversations that decode at once (default 64)"
    group.add_argument("--slots", type=int, default=64, metavar="N", help=slots_help)
    group.add_argument(
        "--max-length",
        type=int,
        metavar="T",
        help="tokens of prompt, response and outputs (default: fits the longest prompt)",
    )
    limits.add_executor(parser, side_by_side=True)
    limits.add_grading(parser)
    parser.set_defaults(files=("data",))
