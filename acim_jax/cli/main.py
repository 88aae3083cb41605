"""`acim COMMAND …`: finds the command, imports that one alone, and turns what it raises into exits.

A command is two modules of one name. `cli/arguments/NAME.py` declares its arguments and is light:
`DESCRIPTION`, `EXAMPLES`, `add(parser)`. `cli/NAME.py` does the work in `run(args)` and may import
jax. Between them, `cli/checks.py` refuses what can be refused without jax.

Exits: 0 success, 2 bad input (`BadInput`, and what argparse refuses), 1
anything else, Ctrl-C included. A command that can go on later sets `args.resume_hint`, the command
line that does it.
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

import rich_argparse

from acim_jax import __version__, bad_input
from acim_jax.cli import console, overrides
from acim_jax.cli.arguments import shared


class Command(NamedTuple):
    """help: one line. config_options: takes `--section.field VALUE`, as `args.overrides`.
    only_reads: has no long work of its own, so that any `ValueError` in it is about its input;
    other commands say which part is reading by `bad_input.reading()`."""

    help: str
    config_options: bool = False
    only_reads: bool = False


COMMANDS = {
    "train": Command("one run: EM, plain RL or warm-up, or going on with one", config_options=True),
    "experiment": Command("named arms × seeds, then the report", config_options=True),
    "evaluate": Command("accuracy and decisions of a model on problem files"),
    "ask": Command("solve one problem and show text, code, output and answer"),
    "prefixes": Command("how a model begins its responses, and decision prefixes that fit it"),
    "score": Command("log-probabilities of given tokens"),
    "execute": Command("run programs in the executor", only_reads=True),
    "grade": Command("grade answers", only_reads=True),
    "export": Command("write a Hugging Face folder"),
    "config": Command("every field of a config with its type, default and one line"),
    "report": Command("one HTML page from run folders", only_reads=True),
    "doctor": Command("what this machine offers: devices, versions, protection"),
}


class HelpFormatter(rich_argparse.RawDescriptionRichHelpFormatter):
    """Coloured help that keeps examples as written; brackets in texts are no markup."""

    text_markup = False
    help_markup = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (`sys.argv` by default) and returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = next((one for one in arguments if not one.startswith("-")), None)
    command = COMMANDS.get(name or "")
    args = argparse.Namespace()
    console.set_up_logging()
    # A scheduler's SIGTERM stops as cleanly as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        fields: list[tuple[str, str]] = []
        if command is not None and command.config_options:
            fields, arguments = overrides.split(arguments)
        build_parser(name).parse_args(arguments, namespace=args)
        args.overrides = fields
        with bad_input.reading():
            shared.check_files(args)
            importlib.import_module("acim_jax.cli.checks").check(name, args)
        work = importlib.import_module(f"acim_jax.cli.{name}")
        if command is not None and command.only_reads:
            with bad_input.reading():
                return work.run(args)
        return work.run(args)
    except bad_input.BadInput as error:
        print(f"acim: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = getattr(args, "resume_hint", None)
        print(f"acim: stopped{f'; go on with: {hint}' if hint else ''}", file=sys.stderr)
        return 1


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser; only the module of the `chosen` command is imported, the others are named."""
    parser = argparse.ArgumentParser(
        prog="acim",
        description="Autonomous code integration for math language models (arXiv:2502.00691).",
        epilog="example:\n  acim ask --model tiny 'What is 12 times 12?'",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        if name != chosen:
            subparsers.add_parser(name, help=command.help)
            continue
        arguments = importlib.import_module(f"acim_jax.cli.arguments.{name}")
        own = subparsers.add_parser(
            name,
            help=command.help,
            description=arguments.DESCRIPTION,
            epilog=arguments.EXAMPLES,
            formatter_class=HelpFormatter,
            allow_abbrev=False,
        )
        own.set_defaults(files=())
        arguments.add(own)
    return parser


if __name__ == "__main__":
    sys.exit(main())
