"""Arguments that several commands share."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from acim_jax.checkpoint import model_names

#: `records.GUIDES`, without the numpy that importing it would take.
GUIDES = ("native", "text", "code")
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


def add_input_output(parser: argparse.ArgumentParser, given: str, made: str) -> None:
    """--input and --output, JSON Lines both; `given` and `made` say what they hold."""
    parser.add_argument("--input", type=Path, required=True, metavar="F", help=f"{given}, JSONL")
    parser.add_argument("--output", type=Path, required=True, metavar="G", help=f"{made}, JSONL")
    parser.set_defaults(files=("input",))


def check_files(args: argparse.Namespace) -> None:
    """FileNotFoundError for a file or a model that the arguments name and that does not exist.

    `args.files` names the arguments that are a file, or sources of problems.
    """
    for name in args.files:
        value: Path | Sequence[str] | None = getattr(args, name)
        if isinstance(value, Path) and not value.exists():
            raise FileNotFoundError(f"{value}: no such file")
        if isinstance(value, list):
            check_data(value)
    if "model" in args:
        model_names.check(args.model)


def check_data(sources: Sequence[str]) -> None:
    """FileNotFoundError for a problem file that does not exist."""
    for source in sources:
        if source.endswith(_DATA_FILES) and not Path(source).is_file():
            raise FileNotFoundError(f"{source}: no such file")
