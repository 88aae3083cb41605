"""The command line of `acim score`."""

import argparse

from acim_jax.cli.arguments import shared

DESCRIPTION = "Log-probabilities of the given tokens, as they stand, under the model."
EXAMPLES = """\
example:
  echo '{"id": "a", "text": "2 + 2 = 4"}' > texts.jsonl
  acim score --model tiny --input texts.jsonl --output scores.jsonl

input:  {"id", "token_ids": [ints]} or {"id", "text"}; no token is added
output: {"id", "token_ids", "logprobs": [null, l1, ...], "sum"}, in input order: natural
        logarithms, each token given those before it
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    shared.add_model(parser, dtype="float32")
    shared.add_input_output(parser, "tokens", "results")
