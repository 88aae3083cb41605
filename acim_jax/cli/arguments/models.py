"""The command lines that ask a model: each function declares one, its docstring is the help."""

import argparse
from pathlib import Path

from acim_jax.cli.arguments import shared


def evaluate(parser: argparse.ArgumentParser) -> None:
    """Solves the problems of the files with the model's own decisions, with text alone, or with
    code, and says how often each is right and how well it decided.

    examples:
      acim evaluate --model tiny --data generated:arithmetic --limit 200 \\
          --decision native text code --out results/tiny
      acim evaluate --model runs/em --data gsm8k_test.jsonl --samples 4 --temperature 0.7 \\
          --out results/em

    writes DIR/results.json (the figures) and DIR/episodes.jsonl (every rollout); the same command
    again goes on after what is there. `text` switches the executor off, `code` forces the code
    prefix.
    """
    shared.add_model(parser)
    shared.add_problems(parser)
    shared.add(parser, "--out", Path, "DIR", "folder to write", required=True)
    decision = f"{', '.join(shared.GUIDES)} (default: native)"
    shared.add_several(parser, "--decision", "D", decision, among=shared.GUIDES, default=["native"])
    shared.add(parser, "--samples", int, "N", "rollouts per problem", default=1)
    shared.add_sampling(parser)
    shared.add(parser, "--oracle", Path, "DIR", "judge decisions by the forced runs in DIR")
    parser.add_argument("--json", action="store_true", help="results.json on standard output, too")
    shared.add_markup(parser)
    shared.add_sampler(parser)
    shared.add_executor(parser)
    shared.add_grading(parser)


def ask(parser: argparse.ArgumentParser) -> None:
    """Solves one problem, showing text, code, output and answer as they come.

    examples:
      acim ask --model tiny "What is 79 times 92?"
      acim ask --model tiny --decision text "What is 79 times 92?"
      acim ask --model models/math --markup name=qwen2.5-math-tir "What is 79 times 92?"
    """
    shared.add_model(parser)
    shared.add(parser, "question", str, "QUESTION", "the problem, in quotes")
    parser.add_argument(
        "--decision", choices=shared.GUIDES, default="native", help="default: the model's own"
    )
    shared.add_sampling(parser)
    shared.add(parser, "--max-length", int, "T", "tokens of prompt, response and outputs")
    shared.add_json(parser)
    shared.add_markup(parser, nargs=None)
    shared.add_executor(parser, nargs=None)


def prefixes(parser: argparse.ArgumentParser) -> None:
    """Shows how a model begins its responses, what each decision prefix costs it token by token,
    and proposes prefixes that it would use. Run it before training a model: prefixes that the model
    never writes make the estimate of pi(code|x) a comparison of wordings, and `acim train` refuses
    them.

    examples:
      acim prefixes --model models/qwen2.5-coder-0.5b --data gsm8k_train.jsonl.gz \\
          --markup name=qwen2.5-math-tir
      acim prefixes --model models/mine --data train.jsonl --write     # into models/mine/acim.yaml
    """
    shared.add_model(parser)
    data = ".jsonl, .jsonl.gz, .parquet, a datasets hub name, generated:NAME, FILE.py:FUNCTION"
    shared.add_several(parser, "--data", "F", data, required=True)
    for option, metavar, default, text in (
        ("--limit", "N", 16, "the first N problems of each file"),
        ("--samples", "N", 4, "responses begun per problem and prompt"),
        ("--tokens", "T", 32, "tokens of each"),
        ("--seed", "S", 0, "of sampling"),
    ):
        shared.add(parser, option, int, metavar, f"{text} (default {default})", default=default)
    parser.add_argument(
        "--write", action="store_true", help="write the proposal into the model folder's acim.yaml"
    )
    shared.add_json(parser)
    shared.add_markup(parser)


def demonstrate(parser: argparse.ArgumentParser) -> None:
    """Lets a model solve problems under a hint towards each decision, and keeps the right answers
    as demonstrations for its own warm-up: in the prompt of a run, without the hint, each beginning
    with a prefix of its decision. Find prefixes that fit the model first (`acim prefixes`).

    example:
      acim demonstrate --model models/qwen2.5-coder-0.5b --markup name=qwen2.5-math-tir \\
          --data gsm8k_train.jsonl.gz generated:arithmetic --limit 200 --out demonstrations.jsonl
      acim train CONFIG --data.demonstrations demonstrations.jsonl --warmup.steps 100

    writes {"id", "problem", "response"}. Kept are right answers that ended by themselves; of code,
    those whose program ran, before the answer, and ended well. A problem solved both ways gives as
    many of one decision as of the other, and so do all the others together; what the rarer one
    leaves out is drawn by --seed. With --choose aptitude a problem gives only the decision that
    solved it more often. The rollouts stay in G.rollouts/; the same command again goes on
    after them.
    """
    shared.add_model(parser)
    shared.add_problems(parser)
    shared.add(parser, "--out", Path, "G", "file to write, .jsonl or .jsonl.gz", required=True)
    text = "rollouts per problem and decision (default 4)"
    shared.add(parser, "--samples", int, "N", text, default=4)
    choose = "as many of either decision (balanced), or of each problem the better one (aptitude)"
    choices = ("balanced", "aptitude")
    parser.add_argument("--choose", choices=choices, default=choices[0], help=choose)
    shared.add_sampling(parser, temperature=0.8)
    shared.add_json(parser)
    shared.add_markup(parser)
    shared.add_sampler(parser)
    shared.add_executor(parser)
    shared.add_grading(parser)


def difficulty(parser: argparse.ArgumentParser) -> None:
    """Solves problems several times with each model, and writes them with the share of right
    answers of each, and with levels: predicates over these pass rates (docs/problems.md). Without
    --levels they are the three of arXiv:2504.00829, as far as the roles small, mid and large are
    there.

    examples:
      acim difficulty --model models/1.5b models/7b models/32b --data train.jsonl --samples 8 \\
          --out levelled.jsonl
      acim difficulty --model tiny --data generated:arithmetic --limit 20 --samples 4 \\
          --out tiny.jsonl
      acim difficulty --relabel --data levelled.jsonl --roles small=7b large=32b \\
          --levels levels.yaml --out relevelled.jsonl

    writes each problem with all its fields, `pass_rate/NAME` and `samples/NAME` for each model
    (NAME is the last part of M), and `levels`, a list. The rollouts stay in G.rollouts/NAME/; the
    same command again goes on after them, and makes none for other --roles or --levels.
    """
    shared.add_model(parser, several=True)
    shared.add_problems(parser)
    shared.add(parser, "--out", Path, "G", "file to write, .jsonl or .jsonl.gz", required=True)
    shared.add(parser, "--samples", int, "N", "rollouts per problem (default 8)", default=8)
    decision = "the model's own (native, the default), or a forced one"
    parser.add_argument("--decision", choices=shared.GUIDES, default="native", help=decision)
    shared.add_sampling(parser, temperature=1.0)
    group = parser.add_argument_group("levels")
    order = "which model is which (default: small, mid, large in the order of --model)"
    shared.add_several(group, "--roles", "ROLE=M", order)
    shared.add(group, "--levels", Path, "FILE", "predicates, YAML (default: the published three)")
    relabel = "make levels from the columns that --data has, without models"
    group.add_argument("--relabel", action="store_true", help=relabel)
    never = "problems that the strongest model never solves: stay without a level (default), are "
    group.add_argument(
        "--unsolved",
        choices=("no-level", "discard", "keep"),
        default="no-level",
        help=f"{never}left out, or get the levels they meet",
    )
    shared.add_json(parser)
    shared.add_markup(parser)
    shared.add_sampler(parser)
    shared.add_executor(parser)
    shared.add_grading(parser)


def score(parser: argparse.ArgumentParser) -> None:
    """Log-probabilities of the given tokens, as they stand, under the model.

    example:
      echo '{"id": "a", "text": "2 + 2 = 4"}' > texts.jsonl
      acim score --model tiny --input texts.jsonl --output scores.jsonl

    input:  {"id", "token_ids": [ints]} or {"id", "text"}; no token is added
    output: {"id", "token_ids", "logprobs": [null, l1, ...], "sum"}, in input order: natural
            logarithms, each token given those before it
    """
    shared.add_model(parser, dtype="float32")
    shared.add_input_output(parser, "tokens", "results")
