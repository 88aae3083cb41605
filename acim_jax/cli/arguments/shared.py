"""Arguments that several commands share."""

import argparse
import re
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from acim_jax.environment.config import ExecutorConfig
from acim_jax.grading.config import GraderConfig

#: `records.GUIDES`, without the numpy that importing it would take.
GUIDES = ("native", "text", "code")
DTYPES = ("float32", "bfloat16", "float16")
MODEL_HELP = "`tiny`, a Hugging Face folder, a run folder, or a hub name"

#: A parser, or a group of it.
Container = argparse._ActionsContainer


class _Collect(argparse.Action):
    """Collects the lists that the values are; the first use replaces the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        lists: list[list[str]] = [values] if self.nargs is None else values
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, sum(lists, [] if before is self.default else before))


def add(
    parser: Container, name: str, kind: Callable[[str], Any], metavar: str, text: str, **more: Any
) -> None:
    """An argument with a value of a kind. more: argparse's other settings."""
    parser.add_argument(name, type=kind, metavar=metavar, help=text, **more)


def add_several(
    parser: Container,
    option: str,
    metavar: str,
    text: str,
    *,
    nargs: str | None = "+",
    default: Sequence[str] = (),
    among: Sequence[str] | None = None,
    comma: str = ",",
    **more: Any,
) -> None:
    """An option of several values: repeated, comma-separated, after `=`, or `--option A B`.

    nargs: None without the last, for commands with positional arguments: it would swallow them.
    among: the allowed values (None: any). comma: the pattern that separates values, for those that
    may hold commas themselves.
    """

    def split(text: str) -> list[str]:
        values = [value.strip() for value in re.split(comma, text) if value.strip()]
        for value in values:
            if among is not None and value not in among:
                message = f"invalid choice: {value!r} ({', '.join(among)})"
                raise argparse.ArgumentTypeError(message)
        return values

    more |= {"action": _Collect, "nargs": nargs, "default": list(default)}
    add(parser, option, split, metavar, text, **more)


def option_of(field: str) -> str:
    """The option of a config's field: its name without the unit."""
    return f"--{field.removesuffix('_s').replace('_', '-')}"


def add_fields(
    parser: Container, section: str, defaults: object, **fields: tuple[str | None, str]
) -> None:
    """Options of a section's fields, kept as `section.field`; fields: metavar and help of each.

    `checks.section` makes the section of them.
    """
    kinds = typing.get_type_hints(type(defaults))
    for field, (metavar, text) in fields.items():
        default = getattr(defaults, field)
        parser.add_argument(
            option_of(field),
            dest=f"{section}.{field}",
            type=type(default),
            choices=typing.get_args(kinds[field]) or None,
            default=default,
            metavar=metavar,
            help=text,
        )


def add_executor(parser: argparse.ArgumentParser, *, nargs: str | None = "+") -> None:
    """The limits of the programs that a model writes."""
    defaults = ExecutorConfig()
    group = parser.add_argument_group("limits of programs")
    add_fields(
        group,
        "executor",
        defaults,
        workers=("N", "programs at once"),
        timeout_s=("S", "wall seconds"),
        cpu_seconds=("S", "CPU seconds"),
        memory_mb=("M", "address space"),
    )
    modules = f"modules that programs may import (default {','.join(defaults.modules)})"
    add_several(
        group, "--modules", "a,b", modules,
        nargs=nargs, dest="executor.modules", default=defaults.modules,
    )  # fmt: skip
    tools = "functions of your own that programs may call (docs/executor.md)"
    add_several(group, "--tools", "FILE.py:FUNCTION", tools, nargs=nargs, dest="executor.tools")


def add_grading(parser: argparse.ArgumentParser, *, rollouts: bool = True) -> None:
    """What counts as right where graders differ. rollouts: an own reward may decide."""
    unboxed = "without a box: what is stated as the answer, or never"
    percent = "what 5%% is: 0.05 (value), 5 (unit), or either"
    rounding = "where the reference is a decimal: 1e-6 of it (tolerance), its digits, or exact"
    own = "a reward of your own, reward(problem, response) (docs/grading.md)"
    add_fields(
        parser.add_argument_group("what counts as right"),
        "grader",
        GraderConfig(),
        **({"reward": ("FILE.py:FUNCTION", own)} if rollouts else {}),
        unboxed=(None, f"{unboxed} (default %(default)s)"),
        percent=(None, f"{percent} (default %(default)s)"),
        rounding=(None, f"{rounding} (default %(default)s)"),
    )


def add_model(
    parser: argparse.ArgumentParser, *, dtype: str | None = None, several: bool = False
) -> None:
    """--model (`several`: a list, perhaps empty) and --dtype (of the computation; `dtype` is its
    default, None the model's own)."""
    if several:
        add_several(parser, "--model", "M", MODEL_HELP)
    else:
        add(parser, "--model", str, "M", MODEL_HELP, required=True)
    text = f"of the computation (default {dtype or 'that of the model'})"
    parser.add_argument("--dtype", choices=DTYPES, default=dtype, help=text)


def add_markup(parser: argparse.ArgumentParser, *, nargs: str | None = "+") -> None:
    """--markup: fields that override the model's acim.yaml."""
    fields = "override fields of the model's acim.yaml, e.g. name=qwen2.5-math-tir,max_turns=3"
    add_several(parser, "--markup", "FIELD=VALUE", fields, nargs=nargs, comma=r",(?=\w+=)")


def add_problems(parser: argparse.ArgumentParser) -> None:
    """--data, --limit and --map: the problems of `input_records.problems`."""
    data = (
        ".jsonl, .jsonl.gz, .parquet, a datasets hub name, generated:NAME (with --limit), or "
        "FILE.py:FUNCTION, problems(split) of your own (docs/problems.md)"
    )
    add_several(parser, "--data", "F", data, required=True)
    add(parser, "--limit", int, "N", "the first N problems of each file")
    names = "names of fields in the files, e.g. problem=question"
    add_several(parser, "--map", "OURS=THEIRS", names)


def add_sampler(parser: argparse.ArgumentParser) -> None:
    """--slots and --max-length."""
    group = parser.add_argument_group("sampler")
    add(group, "--slots", int, "N", "conversations that decode at once (default 64)", default=64)
    length = "tokens of prompt, response and outputs (default: fits the longest prompt)"
    add(group, "--max-length", int, "T", length)


def add_sampling(parser: argparse.ArgumentParser, *, temperature: float = 0.0) -> None:
    """--temperature (with its default), the truncations of the distribution, and --seed."""
    top_p = "the fewest best tokens that hold P (default 1: all)"
    min_p = "tokens of at least P times the best one's probability"
    text = f"0 is greedy (default {temperature:g})"
    add(parser, "--temperature", float, "T", text, default=temperature)
    add(parser, "--top-k", int, "K", "the K best tokens only (default 0: all)", default=0)
    add(parser, "--top-p", float, "P", top_p, default=1.0)
    add(parser, "--min-p", float, "P", min_p, default=0.0)
    add(parser, "--seed", int, "S", "of sampling (default 0)", default=0)


def add_input_output(parser: argparse.ArgumentParser, given: str, made: str) -> None:
    """--input and --output, JSON Lines both; `given` and `made` say what they hold."""
    add(parser, "--input", Path, "F", f"{given}, JSONL", required=True)
    add(parser, "--output", Path, "G", f"{made}, JSONL", required=True)


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
