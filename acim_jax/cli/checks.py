"""Bad input that is seen before a command imports jax: its options, its files, its config.

Also the settings that options become.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from acim_jax.bad_input import BadInput
from acim_jax.checkpoint import model_names
from acim_jax.cli.arguments import shared
from acim_jax.config import experiment as experiments
from acim_jax.config import run as runs
from acim_jax.config import schema, tree
from acim_jax.config.run import RunConfig
from acim_jax.config.tree import Tree
from acim_jax.data import levels, own_data
from acim_jax.environment import tools
from acim_jax.environment.config import ExecutorConfig
from acim_jax.files import places
from acim_jax.grading import own_reward
from acim_jax.grading.config import GraderConfig
from acim_jax.records import SamplingParams
from acim_jax.run import folder as run_folder
from acim_jax.sampling.config import check_truncation

T = TypeVar("T")

_DATA_FILES = (".jsonl", ".jsonl.gz", ".parquet")


def check(command: str, args: argparse.Namespace) -> None:
    """Raises ValueError or FileNotFoundError for what `command` cannot work with.

    The config or experiment that was read is left in `args.chosen`, and the default in `args.out`.
    """
    if "model" in args:
        for model in args.model if isinstance(args.model, list) else [args.model]:
            model_names.check(model)
    if command in _CHECKS:
        _CHECKS[command](args)


def sampling_params(args: argparse.Namespace) -> SamplingParams:
    """ValueError for a temperature or a truncation out of range."""
    if not (math.isfinite(args.temperature) and args.temperature >= 0):
        raise ValueError(f"--temperature must be 0 or above, got {args.temperature}.")
    check_truncation(args.top_k, args.top_p, args.min_p)
    return SamplingParams(args.temperature, args.top_k, args.top_p, args.min_p)


def section(cls: type[T], name: str, args: argparse.Namespace) -> T:
    """The section that `shared.add_fields` made options of; `BadInput` names the option."""
    fields: dict[str, Tree] = {}
    for dest, value in vars(args).items():
        of, _, field = dest.partition(".")
        if of == name:
            where = shared.option_of(field)
            is_list = isinstance(value, list)
            fields[field] = Tree([Tree(one, where) for one in value] if is_list else value, where)
    return schema.build(cls, Tree(fields, "options"))


def check_text(text: str, where: str) -> None:
    """Raises ValueError, beginning with `where`, for a text that no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} holds half a surrogate pair.") from None


def _train(args: argparse.Namespace) -> None:
    """Reads the config, or looks for the run to go on with."""
    if sum(one is not None for one in (args.config, args.resume, args.replay)) != 1:
        raise BadInput("train needs a CONFIG, --resume RUN or --replay RUN:ITERATION, one of them.")
    if args.replay is not None:
        _check_replay(args)
        return
    if args.resume is None:
        args.chosen = runs.load(args.config, args.overrides)
        _check_config_files(args.chosen)
        _check_new_run(args)
        return
    if args.overrides or args.out:
        raise BadInput(
            "--resume goes on with the config stored in the run; it takes no other settings and no "
            "--out."
        )
    _check_run("--resume", args.resume)


def _check_run(option: str, path: Path) -> None:
    for name in ("manifest.json", "config.yaml"):
        if not (path / name).is_file():
            raise BadInput(f"{option} {path} holds no run: {name} is missing.")


def _check_replay(args: argparse.Namespace) -> None:
    """Leaves the run's folder and the iteration in `args.replay`."""
    path, _, number = args.replay.rpartition(":")
    if not path or not number.isdecimal() or int(number) < 1:
        raise BadInput(f"--replay needs RUN:ITERATION, such as runs/em:3, got {args.replay!r}.")
    if args.out is not None or args.dry_run:
        raise BadInput("--replay writes nothing; it takes neither --out nor --dry-run.")
    args.replay = Path(path), int(number)
    _check_run("--replay", args.replay[0])
    args.chosen = runs.load(args.replay[0] / "config.yaml", args.overrides)


def _check_new_run(args: argparse.Namespace) -> None:
    """ValueError for a folder that cannot become the run's."""
    named = args.out is not None
    if not named:
        name = args.chosen.run.name or args.config.stem
        args.out = Path("runs") / f"{name}-seed{args.chosen.seed}"
    if named or not args.dry_run:
        run_folder.check_usable(args.out)
    else:  # the plan of a config may be looked at again after its run
        places.check_folder(args.out, "--out")


def _experiment(args: argparse.Namespace) -> None:
    args.chosen = experiments.load(args.file, args.seeds, args.overrides)
    for arm in args.chosen.arms.values():
        _check_config_files(arm.runs[args.chosen.seeds[0]])
    args.out = args.out or Path("runs") / args.chosen.name
    places.check_folder(args.out, "--out")


def _export(args: argparse.Namespace) -> None:
    places.check_replaceable(args.out, "--out")


def _report(args: argparse.Namespace) -> None:
    if args.out.is_dir():
        raise ValueError(f"--out {args.out} is a folder; give the name of the HTML file to write.")
    places.check_file(args.out, "--out")


def _evaluate(args: argparse.Namespace) -> None:
    _check_data(args.data)
    places.check_folder(args.out, "--out")
    _check_samples(args)
    if args.oracle is not None and "native" not in args.decision:
        raise ValueError("--oracle judges the model's own decisions; add native to --decision.")
    _check_judges(args)


def _check_judges(args: argparse.Namespace) -> None:
    """For a command that makes rollouts and grades them."""
    tools.files(section(ExecutorConfig, "executor", args).tools)
    own_reward.find(section(GraderConfig, "grader", args).reward)


def _check_samples(args: argparse.Namespace) -> None:
    if args.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {args.samples}.")
    sampling_params(args)
    if args.temperature == 0 and args.samples > 1:
        raise ValueError(
            f"--samples {args.samples} at temperature 0 would make equal rollouts; give a "
            "--temperature above 0."
        )


def _check_records_out(args: argparse.Namespace) -> None:
    """For a command that makes rollouts into a file of records."""
    _check_data(args.data)
    if not args.out.name.endswith((".jsonl", ".jsonl.gz")):
        raise ValueError(f"--out {args.out}: name a .jsonl or .jsonl.gz file.")
    places.check_file(args.out, "--out")
    _check_samples(args)
    _check_judges(args)


def _difficulty(args: argparse.Namespace) -> None:
    _check_records_out(args)
    if args.relabel == bool(args.model):
        raise ValueError(
            "difficulty needs --model M to score problems, or --relabel for the columns that they "
            "have, and not both."
        )
    names = [levels.model_name(model) for model in args.model]
    if len(set(names)) < len(names):
        raise ValueError(f"--model: columns are named by the last part, but two are equal: {names}")
    if args.levels is not None:
        args.chosen = levels.parse(tree.load_file(args.levels).plain(), str(args.levels))


def _prefixes(args: argparse.Namespace) -> None:
    _check_data(args.data)
    for option in ("limit", "samples", "tokens"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option} must be at least 1, got {getattr(args, option)}.")


def _ask(args: argparse.Namespace) -> None:
    if not args.question.strip():
        raise ValueError("QUESTION is empty.")
    check_text(args.question, "QUESTION")
    sampling_params(args)
    tools.files(section(ExecutorConfig, "executor", args).tools)


def _input_output(args: argparse.Namespace) -> None:
    if not args.input.exists():
        raise FileNotFoundError(f"{args.input}: no such file")
    if args.output.is_dir():
        raise ValueError(f"--output {args.output} is a folder; give the name of the file to write.")
    if not args.output.parent.is_dir():
        raise ValueError(
            f"--output {args.output}: the folder {args.output.parent} does not exist; make it "
            "first."
        )
    places.check_file(args.output, "--output")


_CHECKS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": _train,
    "experiment": _experiment,
    "evaluate": _evaluate,
    "export": _export,
    "report": _report,
    "ask": _ask,
    "prefixes": _prefixes,
    "demonstrate": _check_records_out,
    "difficulty": _difficulty,
    **dict.fromkeys(("score", "execute", "grade"), _input_output),
}


def _check_config_files(chosen: RunConfig) -> None:
    """FileNotFoundError for a model or a data file that does not exist; errors of `own_code.find`
    for functions of the user's that cannot be used."""
    own_reward.find(chosen.grader.reward)
    tools.files(chosen.executor.tools)
    data = chosen.data
    for field in ("train", "validation", "test"):
        _check_data(getattr(data, field), f"data.{field}")
    if data.demonstrations:
        _check_data([data.demonstrations], "data.demonstrations")
    model_names.check(chosen.model.path)


def _check_data(sources: Sequence[str], setting: str = "--data") -> None:
    """FileNotFoundError for a problem file that does not exist; ValueError or FileNotFoundError,
    naming the setting, for an own function that cannot be called."""
    for source in sources:
        if own_data.is_one(source):
            own_data.find(source, setting)
        if source.endswith(_DATA_FILES) and not Path(source).is_file():
            raise FileNotFoundError(f"{source}: no such file")
