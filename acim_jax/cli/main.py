"""`acim COMMAND …`: finds the command, imports that one alone, and turns what it raises into exits.

A command's arguments stand in `cli/arguments/`, which is light: a function of the command's name
adds them, and its docstring is the help. `cli/NAME.py` does the work in `run(args)` and may import
jax. Between them, `cli/checks.py` refuses what can be refused without jax.

Exits: 0 success, 2 bad input (`BadInput`, and what argparse refuses), 1 anything else, Ctrl-C and a
full disk included. A command that can go on later sets `args.resume_hint`, the command line that
does it; `args.command_line` is the one it was called with.
"""

import argparse
import contextlib
import importlib
import inspect
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

import rich_argparse

from acim_jax import __version__, bad_input
from acim_jax.bad_input import BadInput
from acim_jax.cli import console


class Command(NamedTuple):
    """help: one line. arguments: the module of `cli/arguments/` that declares them.

    config_options: takes `--section.field VALUE`, as `args.overrides`. only_reads: has no long work
    of its own, so that any `ValueError` in it is about its input; other commands say which part is
    reading by `bad_input.reading()`.
    """

    help: str
    arguments: str
    config_options: bool = False
    only_reads: bool = False


COMMANDS = {
    "train": Command("one run: EM, plain RL or warm-up, or going on with one", "runs", True),
    "experiment": Command("named arms × seeds, then the report", "runs", True),
    "evaluate": Command("accuracy and decisions of a model on problem files", "models"),
    "ask": Command("solve one problem and show text, code, output and answer", "models"),
    "prefixes": Command(
        "how a model begins its responses, and decision prefixes that fit it", "models"
    ),
    "demonstrate": Command("demonstrations of both decisions, made by the model itself", "models"),
    "difficulty": Command("pass rates of models on problems, and levels", "models"),
    "score": Command("log-probabilities of given tokens", "models"),
    "execute": Command("run programs in the executor", "tools", only_reads=True),
    "grade": Command("grade answers", "tools", only_reads=True),
    "export": Command("write a Hugging Face folder", "runs"),
    "config": Command("every field of a config with its type, default and one line", "runs"),
    "watch": Command("a live view of a run in the terminal", "runs", only_reads=True),
    "report": Command("one HTML page from run folders", "runs", only_reads=True),
    "doctor": Command("what this machine offers: devices, versions, protection", "tools"),
}

_CONFIG_OPTION = re.compile(r"--((?:[a-z]\w*\.)+\w+|method|seed)(?:=(.*))?", re.DOTALL)


class HelpFormatter(rich_argparse.RawDescriptionRichHelpFormatter):
    """Coloured help that keeps examples as written; brackets in texts are no markup."""

    text_markup = False
    help_markup = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (`sys.argv` by default) and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command_line = shlex.join(["acim", *arguments])
    args = argparse.Namespace(resume_hint=None, command_line=command_line)
    console.set_up_logging()
    # A scheduler's SIGTERM stops as cleanly as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        name = parse(arguments, args)
        with bad_input.reading():
            importlib.import_module("acim_jax.cli.checks").check(name, args)
        work = importlib.import_module(f"acim_jax.cli.{name}")
        with bad_input.reading() if COMMANDS[name].only_reads else contextlib.nullcontext():
            return work.run(args)
    except BadInput as error:
        print(f"acim: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not bad_input.is_of_the_disk(error):
            raise
        hint = f"go on with: {args.resume_hint}" if args.resume_hint else "start again"
        advice = f"make room, then {hint}" if error.errno in bad_input.NO_ROOM else hint
        print(f"acim: {bad_input.describe(error)}; {advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        hint = f"; go on with: {args.resume_hint}" if args.resume_hint else ""
        print(f"acim: stopped{hint}", file=sys.stderr)
        return 1


def parse(arguments: Sequence[str], args: argparse.Namespace) -> str:
    """Puts a command line into `args` and returns the command's name.

    Exits for one that is wrong, or that asks for help. Positional arguments may stand on both sides
    of an option.
    """
    name, *rest = arguments or [""]
    if name not in COMMANDS:
        parser = overview()
        parser.parse_args(arguments)
        parser.error("the COMMAND comes first")
    if COMMANDS[name].config_options:
        args.overrides, rest = split_overrides(rest)
    parser = command_parser(name)
    # Python 3.11 loses a `--` where positional arguments are intermixed.
    (parser.parse_args if "--" in rest else parser.parse_intermixed_args)(rest, args)
    return name


def overview() -> argparse.ArgumentParser:
    """The parser of `acim` itself: it only names the commands."""
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
        subparsers.add_parser(name, help=command.help)
    return parser


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    module = importlib.import_module(f"acim_jax.cli.arguments.{COMMANDS[name].arguments}")
    add = getattr(module, name)
    description, examples = re.split(r"\n\n(?=example)", inspect.getdoc(add) or "")
    parser = argparse.ArgumentParser(
        prog=f"acim {name}", description=description, epilog=examples, allow_abbrev=False
    )
    add(parser)
    # `parse_intermixed_args` would cut the prefix off a usage in colours at the wrong place.
    parser.usage = parser.format_usage().removeprefix("usage: ")
    parser.formatter_class = HelpFormatter
    return parser


def split_overrides(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The config fields in a command line, as (dotted field, text), and the other arguments.

    They are `--section.field VALUE`, `--method VALUE` and `--seed VALUE`, taken out before argparse
    sees the line: it would take the value of an option it does not know for a positional argument.
    Raises `BadInput` for an option without a value.
    """
    overrides: list[tuple[str, str]] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        match = _CONFIG_OPTION.fullmatch(argument)
        if match is None:
            rest.append(argument)
            continue
        name, value = match.groups()
        if value is None and (value := next(waiting, None)) is None:
            raise BadInput(f"--{name}: a value must follow")
        overrides.append((name, value))
    return overrides, rest


if __name__ == "__main__":
    sys.exit(main())
