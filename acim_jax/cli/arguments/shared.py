"""Arguments that several commands share, and the checks that need none of the heavy modules."""

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from acim_jax.checkpoint import model_names
from acim_jax.config import schema
from acim_jax.config.tree import Tree
from acim_jax.environment.config import ExecutorConfig
from acim_jax.grading import config as grading
from acim_jax.grading.config import GraderConfig
from acim_jax.records import SamplingParams
from acim_jax.sampling.config import check_truncation

T = TypeVar("T")

DTYPES = ("float32", "bfloat16", "float16")
MODEL_HELP = "`tiny`, a Hugging Face folder, a run folder, or a hub name"
_DATA_FILES = (".jsonl", ".jsonl.gz", ".parquet")


class _Collect(argparse.Action):
    """Collects values: comma-separated, from a repeated option, or side by side (`nargs="+"`).

    The first use replaces the default. `among`: the allowed values (None: any). `comma`: the
    pattern that separates values, for those that may hold commas themselves.
    """

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        *,
        among: Sequence[str] | None,
        comma: str,
        **settings: Any,
    ) -> None:
        super().__init__(option_strings, dest, **settings)
        self._among, self._comma = among, comma

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        texts = [values] if isinstance(values, str) else cast("Sequence[str]", values)
        new = [value.strip() for text in texts for value in re.split(self._comma, text)]
        new = [value for value in new if value]
        for value in new:
            if self._among is not None and value not in self._among:
                choices = ", ".join(self._among)
                raise argparse.ArgumentError(self, f"invalid choice: {value!r} ({choices})")
        before = getattr(namespace, self.dest)
        fresh = before is self.default
        setattr(namespace, self.dest, new if fresh else [*before, *new])


def add_several(
    parser: "argparse._ActionsContainer",
    option: str,
    *,
    side_by_side: bool,
    default: Sequence[str] = (),
    among: Sequence[str] | None = None,
    comma: str = ",",
    **settings: Any,
) -> None:
    """An option of several values: repeated, comma-separated, or after `=`.

    side_by_side: also `--option A B`. Only for commands without positional arguments: it would
    swallow them.
    """
    nargs = "+" if side_by_side else None
    parser.add_argument(
        option,
        action=_Collect,
        nargs=nargs,
        default=list(default),
        among=among,
        comma=comma,
        **settings,
    )


def add_model(parser: argparse.ArgumentParser, *, dtype: str | None = None) -> None:
    """--model and --dtype (of the computation; `dtype` is its default, None the model's own)."""
    parser.add_argument("--model", required=True, metavar="M", help=MODEL_HELP)
    default = dtype or "the model's own"
    parser.add_argument(
        "--dtype", choices=DTYPES, default=dtype, help=f"of the computation (default {default})"
    )


def add_markup(parser: argparse.ArgumentParser, *, side_by_side: bool) -> None:
    """--markup: fields that override the model's acim.yaml."""
    add_several(
        parser,
        "--markup",
        side_by_side=side_by_side,
        comma=r",(?=\w+=)",
        metavar="FIELD=VALUE",
        help="override fields of the model's acim.yaml, e.g. name=qwen2.5-math-tir,max_turns=3",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """--temperature and the truncations of the distribution."""
    for option, kind, default, metavar, text in (
        ("--temperature", float, 0.0, "T", "0 is greedy (default)"),
        ("--top-k", int, 0, "K", "the K best tokens only (default 0: all)"),
        ("--top-p", float, 1.0, "P", "the fewest best tokens that hold P (default 1: all)"),
        ("--min-p", float, 0.0, "P", "tokens of at least P times the best one's probability"),
    ):
        parser.add_argument(option, type=kind, default=default, metavar=metavar, help=text)


def sampling_params(args: argparse.Namespace) -> SamplingParams:
    return SamplingParams(args.temperature, args.top_k, args.top_p, args.min_p)


def check_sampling(args: argparse.Namespace) -> None:
    """ValueError for a temperature or a truncation out of range."""
    if not (math.isfinite(args.temperature) and args.temperature >= 0):
        raise ValueError(f"--temperature must be 0 or above, got {args.temperature}.")
    check_truncation(args.top_k, args.top_p, args.min_p)


def add_executor(parser: "argparse._ActionsContainer", *, side_by_side: bool) -> None:
    """The limits of the programs that a model writes."""
    defaults = ExecutorConfig()
    group = parser.add_argument_group("limits of programs")
    for option, default, metavar, text in (
        ("--workers", defaults.workers, "N", "programs at once"),
        ("--timeout", defaults.timeout_s, "S", "wall seconds"),
        ("--cpu-seconds", defaults.cpu_seconds, "S", "CPU seconds"),
        ("--memory-mb", defaults.memory_mb, "M", "address space"),
    ):
        group.add_argument(option, type=type(default), default=default, metavar=metavar, help=text)
    add_several(
        group,
        "--modules",
        side_by_side=side_by_side,
        default=defaults.modules,
        metavar="a,b",
        help=f"modules that programs may import (default {','.join(defaults.modules)})",
    )


def executor_config(args: argparse.Namespace, **more: str) -> ExecutorConfig:
    """`BadInput`, naming the option, for a limit out of range. more: as `_section` takes them."""
    return _section(
        ExecutorConfig,
        args,
        workers="workers",
        timeout_s="timeout",
        cpu_seconds="cpu_seconds",
        memory_mb="memory_mb",
        modules="modules",
        **more,
    )


def _section(cls: type[T], args: argparse.Namespace, **options: str) -> T:
    """A section of a config from options: its field -> the option's name in `args`."""
    fields: dict[str, Tree] = {}
    for field, name in options.items():
        where, value = f"--{name.replace('_', '-')}", getattr(args, name)
        is_list = isinstance(value, list | tuple)
        fields[field] = Tree([Tree(one, where) for one in value] if is_list else value, where)
    return schema.build(cls, Tree(fields, "options"))


def add_grading(parser: argparse.ArgumentParser) -> None:
    """What counts as right where graders differ."""
    defaults = GraderConfig()
    group = parser.add_argument_group("what counts as right")
    for name, choices, text in (
        ("unboxed", grading.Unboxed, "without a box: what is stated as the answer, or never"),
        ("percent", grading.Percent, "what 5%% is: 0.05 (value), 5 (unit), or either"),
        (
            "rounding",
            grading.Rounding,
            "where the reference is a decimal: 1e-6 of it (tolerance), its digits, or exact",
        ),
    ):
        group.add_argument(
            f"--{name}",
            choices=choices.__args__,
            default=getattr(defaults, name),
            help=f"{text} (default %(default)s)",
        )


def grader_config(args: argparse.Namespace, **more: str) -> GraderConfig:
    """`BadInput`, naming the option, for a value out of range. more: as `_section` takes them."""
    return _section(
        GraderConfig, args, unboxed="unboxed", percent="percent", rounding="rounding", **more
    )


def add_input_output(parser: argparse.ArgumentParser, given: str, made: str) -> None:
    """--input and --output, JSON Lines both; `given` and `made` say what they hold."""
    parser.add_argument("--input", type=Path, required=True, metavar="F", help=f"{given}, JSONL")
    parser.add_argument("--output", type=Path, required=True, metavar="G", help=f"{made}, JSONL")


def check_input_output(args: argparse.Namespace) -> None:
    """ValueError or FileNotFoundError unless --input is a file and --output can become one."""
    if not args.input.is_file():
        raise FileNotFoundError(f"--input {args.input}: no such file.")
    if args.output.is_dir():
        raise ValueError(f"--output {args.output} is a folder; give the name of the file to write.")
    if not args.output.parent.is_dir():
        raise ValueError(
            f"--output {args.output}: the folder {args.output.parent} does not exist; make it "
            "first."
        )


def check_model(args: argparse.Namespace) -> None:
    """FileNotFoundError if --model names nothing."""
    model_names.check(args.model)


def check_data(sources: Sequence[str]) -> None:
    """FileNotFoundError for a problem file that does not exist."""
    for source in sources:
        if source.endswith(_DATA_FILES) and not Path(source).is_file():
            raise FileNotFoundError(f"{source}: no such file.")


def check_text(text: str, where: str) -> None:
    """Raises ValueError, beginning with `where`, for a text that no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} holds half a surrogate pair.") from None
