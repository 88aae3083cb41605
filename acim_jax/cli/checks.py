"""Bad input that is seen before a command imports jax: its options, its config.

Also the settings that options become.
"""

import argparse
import math
from typing import TypeVar

from acim_jax.bad_input import BadInput
from acim_jax.checkpoint import model_names
from acim_jax.cli.arguments import shared
from acim_jax.config import experiment as experiments
from acim_jax.config import run as runs
from acim_jax.config import schema
from acim_jax.config.run import RunConfig
from acim_jax.config.tree import Tree
from acim_jax.environment.config import ExecutorConfig
from acim_jax.grading.config import GraderConfig
from acim_jax.records import SamplingParams
from acim_jax.sampling.config import check_truncation

T = TypeVar("T")


def check(command: str, args: argparse.Namespace) -> None:
    """Raises ValueError or FileNotFoundError for what `command` cannot work with.

    The config or experiment that was read is left in `args.chosen`.
    """
    match command:
        case "train":
            _train(args)
        case "experiment":
            _experiment(args)
        case "evaluate":
            _evaluate(args)
        case "ask":
            _ask(args)
        case "score" | "execute" | "grade":
            _check_output(args)
        case "report":
            _report(args)
        case _:
            pass


def sampling_params(args: argparse.Namespace) -> SamplingParams:
    return SamplingParams(args.temperature, args.top_k, args.top_p, args.min_p)


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


def grader_config(args: argparse.Namespace, **more: str) -> GraderConfig:
    """`BadInput`, naming the option, for a value out of range. more: as `_section` takes them."""
    return _section(
        GraderConfig, args, unboxed="unboxed", percent="percent", rounding="rounding", **more
    )


def check_text(text: str, where: str) -> None:
    """Raises ValueError, beginning with `where`, for a text that no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} holds half a surrogate pair.") from None


def _train(args: argparse.Namespace) -> None:
    """Reads the config, or the manifest of the run to go on with."""
    if (args.config is None) == (args.resume is None):
        raise BadInput("train needs a CONFIG, or --resume RUN, and not both.")
    if args.resume is not None:
        if args.overrides or args.out:
            raise BadInput(
                "--resume goes on with the config stored in the run; it takes no other settings "
                "and no --out."
            )
        for name in ("manifest.json", "config.yaml"):
            if not (args.resume / name).is_file():
                raise BadInput(f"--resume {args.resume} holds no run: {name} is missing.")
        return
    args.chosen = runs.load(args.config, args.overrides)
    _check_files(args.chosen)


def _experiment(args: argparse.Namespace) -> None:
    """Reads the experiment."""
    args.chosen = experiments.load(args.file, args.seeds, args.overrides)
    for arm in args.chosen.arms.values():
        _check_files(arm.runs[args.chosen.seeds[0]])


def _evaluate(args: argparse.Namespace) -> None:
    """Checks the options."""
    if args.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {args.samples}.")
    _check_sampling(args)
    if args.temperature == 0 and args.samples > 1:
        raise ValueError(
            f"--samples {args.samples} at temperature 0 would make equal rollouts; give a "
            "--temperature above 0."
        )
    if args.oracle is not None and "native" not in args.decision:
        raise ValueError("--oracle judges the model's own decisions; add native to --decision.")
    executor_config(args)


def _ask(args: argparse.Namespace) -> None:
    """Checks the question and the options."""
    if not args.question.strip():
        raise ValueError("QUESTION is empty.")
    check_text(args.question, "QUESTION")
    _check_sampling(args)
    executor_config(args)


def _report(args: argparse.Namespace) -> None:
    """Checks that the runs are folders, and that the page can be written."""
    for run in args.runs:
        if not run.is_dir():
            raise FileNotFoundError(f"{run} is not a folder; give run or experiment folders.")
    if args.out.is_dir():
        raise ValueError(f"--out {args.out} is a folder; give the name of the HTML file to write.")


def _check_files(chosen: RunConfig) -> None:
    """FileNotFoundError for a model or a data file that does not exist."""
    data = chosen.data
    shared.check_data([*data.train, *data.validation, *data.test, data.demonstrations])
    model_names.check(chosen.model.path)


def _check_sampling(args: argparse.Namespace) -> None:
    """ValueError for a temperature or a truncation out of range."""
    if not (math.isfinite(args.temperature) and args.temperature >= 0):
        raise ValueError(f"--temperature must be 0 or above, got {args.temperature}.")
    check_truncation(args.top_k, args.top_p, args.min_p)


def _check_output(args: argparse.Namespace) -> None:
    """ValueError unless a file can be written at --output."""
    if args.output.is_dir():
        raise ValueError(f"--output {args.output} is a folder; give the name of the file to write.")
    if not args.output.parent.is_dir():
        raise ValueError(
            f"--output {args.output}: the folder {args.output.parent} does not exist; make it "
            "first."
        )


def _section(cls: type[T], args: argparse.Namespace, **options: str) -> T:
    """A section of a config from options: its field -> the option's name in `args`."""
    fields: dict[str, Tree] = {}
    for field, name in options.items():
        where, value = f"--{name.replace('_', '-')}", getattr(args, name)
        is_list = isinstance(value, list | tuple)
        fields[field] = Tree([Tree(one, where) for one in value] if is_list else value, where)
    return schema.build(cls, Tree(fields, "options"))
