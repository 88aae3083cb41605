"""The model that a command line names, and a sampler that fits it."""

import argparse
import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jax

from acim_jax.checkpoint import fingerprint, model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.cli import checks
from acim_jax.environment import tools
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.evaluation import pipeline, results_folder
from acim_jax.evaluation.pipeline import Settings, Task
from acim_jax.evaluation.rollouts import Solver
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.grader import Grader
from acim_jax.markup import Markup, form, templates
from acim_jax.markup.form import Body
from acim_jax.model import transformer
from acim_jax.model.config import Dtype, ModelSource
from acim_jax.records import DECISIONS, GUIDES, Guide
from acim_jax.rollout.sampler import Sampler
from acim_jax.run import dry_run
from acim_jax.sampling.config import SamplingConfig
from acim_jax.sharding import axes, mesh
from acim_jax.sharding.config import MeshConfig

log = logging.getLogger(__name__)

#: Widths of `extend` by the longest given text: (longest that they are for, widths).
_PREFILL_BUCKETS = ((48, (16, 48)), (512, (32, 128)), (None, (64, 512)))
_LENGTH_MULTIPLE = 32


def open_model(args: argparse.Namespace) -> ModelFolder:
    """The model of --model, with --dtype, --markup and --tools where the command has them.

    Raises FileNotFoundError or ValueError. Says on standard error which written form is used for a
    model that states none, and on a CPU that a narrow dtype is left for float32.
    """
    model = _in_dtype(model_folder.open_model(ModelSource(args.model)), args.dtype)
    chosen = overridden(model.markup, args.markup) if getattr(args, "markup", None) else None
    specs = getattr(args, "executor.tools", ())
    markup = form.with_tools(chosen or model.markup, tools.listed(specs), tools.schemas(specs))
    if chosen is None and not model.has_markup:
        log.warning(
            "%s has no acim.yaml: the prompt is %s, code stands between %r and %r",
            model.name,
            "the tokenizer's chat template" if model.markup.template == "chat" else "plain",
            model.markup.code_open,
            model.markup.code_close,
        )
    return dataclasses.replace(model, markup=markup)


def _in_dtype(model: ModelFolder, asked: Dtype | None) -> ModelFolder:
    """The model computed in the dtype that was asked for; by default in its own, but for a CPU,
    which has no products of narrow dtypes and would convert the weights at every use.

    Weights of a folder are read into that dtype; those of a run stay as its checkpoint has them.
    """
    config = model.config
    dtype = asked or ("float32" if jax.default_backend() == "cpu" else config.dtype)
    if asked is None and dtype != config.dtype:
        log.info(
            "%s is computed in float32, which is faster on a CPU than its own %s (--dtype %s)",
            *(model.name, config.dtype, config.dtype),
        )
    of_folder = model.run is None and model.adapted is None
    param_dtype = dtype if of_folder else config.param_dtype
    config = dataclasses.replace(config, dtype=dtype, param_dtype=param_dtype)
    return dataclasses.replace(model, config=config)


def overridden(markup: Markup, settings: Sequence[str]) -> Markup:
    """The markup with `FIELD=VALUE` settings; ValueError names a field that is unknown or wrong.

    Text fields take the value as it stands, the others JSON; `name=` takes a named template.
    """
    texts = {f.name for f in dataclasses.fields(Markup) if f.type in (str, str | None, Body)}
    fields: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--markup takes FIELD=VALUE, got {setting!r}.")
        try:
            fields[name] = text if name in {"name", *texts} else json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"--markup {name} needs JSON, got {text!r}: {error.msg}.") from error
    return templates.from_fields(fields, "--markup", markup)


def sampling_config(
    model: ModelFolder, longest: int, *, slots: int, max_length: int | None = None, chunk: int = 32
) -> SamplingConfig:
    """Shapes of the sampler for given texts (prompt and forced prefix) of at most `longest` tokens.

    Without max_length a row holds the longest given text, a response of `max_turns + 1` turns, and
    their outputs at one token a character; a turn is 1/32 of the model's positions, but at least
    96 and at most 1024 tokens. Never more than the model's positions: what does not fit is
    not sampled and stops as `prompt`. ValueError for a max_length beyond them.
    """
    positions = model.config.max_positions
    if max_length is not None and not 2 <= max_length <= positions:
        raise ValueError(
            f"--max-length must lie between 2 and the model's {positions} positions, got "
            f"{max_length}."
        )
    if slots < 1:
        raise ValueError(f"--slots must be at least 1, got {slots}.")
    if max_length is None:
        turn = min(max(positions // 32, 96), 1024)
        turns = model.markup.max_turns
        wanted = longest + (turns + 1) * turn + turns * model.markup.max_output_chars
        max_length = min(-(-wanted // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE, positions)
    buckets = next(b for limit, b in _PREFILL_BUCKETS if limit is None or longest <= limit)
    return SamplingConfig(slots=slots, max_length=max_length, chunk=chunk, prefill_buckets=buckets)


def make_sampler(
    model: ModelFolder,
    questions: Iterable[str],
    guides: Sequence[Guide],
    *,
    slots: int | None = None,
    max_length: int | None = None,
    chunk: int = 32,
) -> tuple[Sampler, int]:
    """A sampler, and the tokens of the longest prompt with the longest prefix that a guide forces.

    slots: rounded up to a multiple of the devices' shares of the batch; None is one a share.
    ValueError as in `sampling_config`, and where the devices' memory does not hold the sampler.
    """
    forced = [model.markup.prefixes(guide)[0] for guide in guides if guide in DECISIONS]
    prefix = max((len(model.tokenizer.encode(text)) for text in forced), default=0)
    longest = max(len(model.tokenizer.prompt_ids(text, model.markup)) for text in questions)
    layout, shares = sample_layout()
    config = sampling_config(
        model,
        longest + prefix,
        slots=shares if slots is None else -(-slots // shares) * shares,
        max_length=max_length,
        chunk=chunk,
    )
    sampler = Sampler(model.config, config, model.tokenizer, model.markup, layout)
    log.info(dry_run.check_sampler(sampler))
    return sampler, longest + prefix


def sample_layout() -> tuple[axes.Layout | None, int]:
    """The sampler's layout over all devices, and how many shares the rows are split into."""
    _, layout = mesh.layouts(MeshConfig())
    return layout, 1 if layout is None else layout.shards("batch")


def open_task(
    stack: contextlib.ExitStack,
    args: argparse.Namespace,
    model: ModelFolder,
    task: Task,
    folder: Path,
) -> tuple[Solver, Settings]:
    """What makes the task's rollouts, closed with `stack`; and the settings of its `folder`.

    ValueError for a folder of something else, before the weights are read.
    """
    executor = checks.section(ExecutorConfig, "executor", args)
    grader = checks.section(GraderConfig, "grader", args)
    questions = (problem.question for problems in task.problems.values() for problem in problems)
    guides: list[Guide] = [
        guide for guide in GUIDES if any(guide in of for of in task.guides.values())
    ]
    sampler, _ = make_sampler(
        model, questions, guides, slots=args.slots, max_length=args.max_length
    )
    settings = pipeline.settings_of(
        task, sampler, executor, grader, model=model.name, step=model.step
    )
    results_folder.check(folder, settings)
    solver, settings["weights"] = open_solver(stack, model, sampler, executor, grader)
    return solver, settings


def warn_of_stops(what: str, stops: Mapping[str, int], sampler: Sampler) -> None:
    """Warns of rollouts (counts by `Stop`) that count as wrong for other reasons than the model's
    answer."""
    length, total = sampler.config.max_length, sum(stops.values())
    longer = "" if length == sampler.model.max_positions else "; raise --max-length"
    for stop, tolerated, text in (
        ("prompt", 0.0, f"prompts do not fit into {length} tokens and count as wrong{longer}"),
        ("length", 0.05, f"rollouts were cut off at {length} tokens (--max-length)"),
        ("infra", 0.0, "rollouts failed in the executor itself and count as wrong"),
    ):
        if stops.get(stop, 0) > tolerated * total:
            log.warning("%s: %d of %d %s", what, stops[stop], total, text)


def open_solver(
    stack: contextlib.ExitStack,
    model: ModelFolder,
    sampler: Sampler,
    executor: ExecutorConfig,
    grader: GraderConfig,
) -> tuple[Solver, str]:
    """What makes and grades rollouts, closed with `stack`; and the fingerprint of the weights."""
    params = model_folder.load_for_sampling(model, sampler.layout)
    weights = fingerprint.of_params(params)
    params = transformer.for_sampling(params, model.config, sampler.layout)
    running = stack.enter_context(Executor(executor))
    return Solver(params, sampler, running, stack.enter_context(Grader(grader, executor))), weights
