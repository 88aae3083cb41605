"""What a run would take, computed from its configuration: nothing is allocated or compiled."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import rich.table

from acim_jax.checkpoint import hf_config, model_folder
from acim_jax.config import run as run_config
from acim_jax.config.run import RunConfig
from acim_jax.markup import prefix_rows, templates
from acim_jax.markup.prefix_rows import PrefixEncoder
from acim_jax.model import lora, transformer
from acim_jax.planning import device_memory, memory
from acim_jax.planning import workload as workloads
from acim_jax.planning.device_memory import human
from acim_jax.planning.memory import Exploring, Improving
from acim_jax.planning.workload import Place, Workload
from acim_jax.records import DECISIONS, Problem
from acim_jax.rollout.sampler import Sampler
from acim_jax.run.preparation import Prepared
from acim_jax.sharding import mesh


def parts(config: RunConfig) -> list[RunConfig]:
    """The run, whose settings evaluations have, and its stages if it has any."""
    return [config, *run_config.of_stages(config)] if config.stages else [config]


def planned(config: RunConfig, folder: Path, *, shards: int) -> Workload:
    """The shapes of a run, from its config and a folder with the model's config.json alone.

    The problems are not read: prompts are taken to fill the widest prefill bucket, and prefixes to
    be short. Raises as `hf_config.read_config` does.
    """
    model = model_folder.overridden(hf_config.read_config(folder), config.model)
    markup = templates.from_fields(config.model.markup, "model.markup")
    return workloads.of_run(
        config,
        model,
        prefixes=(prefixes := sum(len(markup.prefixes(decision)) for decision in DECISIONS)),
        columns=prefix_rows.MULTIPLE * prefixes,
        width=config.sampling.prefill_buckets[-1],
        shards=shards,
    )


def needed(prepared: Prepared) -> tuple[Exploring, Improving]:
    """Bytes per device of both phases, on the mesh of this process's devices; of stages, of those
    that take the most."""
    keeps_reference = any(one.config.has_reference for one in prepared.stages)
    of_parts = [prepared, *prepared.parts]
    found = [_needed(part, prepared.problems, keeps_reference) for part in of_parts]
    exploring, improving = zip(*found, strict=True)
    return max(exploring, key=lambda one: one.total), max(improving, key=lambda one: one.total)


def _needed(
    prepared: Prepared, problems: Sequence[Problem], keeps_reference: bool
) -> tuple[Exploring, Improving]:
    config, model = prepared.config, prepared.model
    train, sample = mesh.layouts(config.mesh)
    width = prefix_rows.width(model.tokenizer, model.markup, problems)
    empty = PrefixEncoder(model.tokenizer, model.markup, width).rows([], 1)
    shapes = workloads.of_run(
        config,
        model.config,
        prefixes=empty.of_decision.shape[2],
        columns=empty.prefixes.shape[1],
        width=width,
        shards=1 if train is None else train.shards("batch"),
        reference=keeps_reference,
    )
    at = Place(train, sample)
    scores = memory.holds_scores(model.config, jax.default_backend())
    return memory.exploring(shapes, at, scores=scores), memory.improving(shapes, at, scores=scores)


def check(prepared: Prepared) -> str:
    """What the sampler takes, in one line. ValueError where the run cannot fit its devices."""
    return _checked(*needed(prepared))


def check_sampler(sampler: Sampler) -> str:
    """`check` where a model is only sampled from."""
    shapes, at = Workload(sampler.model, sampler.config), Place(None, sampler.layout)
    scores = memory.holds_scores(sampler.model, jax.default_backend())
    return _checked(memory.exploring(shapes, at, scores=scores), None)


def _checked(exploring: Exploring, improving: Improving | None) -> str:
    limit = device_memory.available()
    device_memory.check(exploring, improving, limit)
    return device_memory.describe(exploring, limit)


def fits(prepared: Prepared) -> bool:
    """Whether this machine's devices hold the run."""
    exploring, improving = needed(prepared)
    return max(exploring.total, improving.total) <= device_memory.available()


def table(prepared: Prepared, times: Mapping[str, float]) -> rich.table.Table:
    """Counts, bytes per device and compiled functions of a run. times: seconds of its stages."""
    config, model = prepared.config, prepared.model.config
    params = transformer.abstract_params(model)
    lines = [("model", f"{prepared.model.name}, {_count(params):,} parameters")]
    if config.lora is not None:
        trained = _count(lora.abstract(config.lora, params))
        lines.append(("adapters", f"{trained:,} parameters of rank {config.lora.rank}"))
    layout = mesh.layouts(config.mesh)[0]
    axes = {} if layout is None else layout.mesh.shape
    sizes = (f"{len(getattr(prepared, name))} {name}" for name in ("train", "validation", "test"))
    per_bucket = 2 if config.improve.replay_weight else 1
    functions = len(config.sampling.prefill_buckets) + per_bucket * len(config.improve.buckets)
    lines += [
        ("devices", f"{jax.device_count()} × {jax.devices()[0].device_kind}"),
        ("mesh", " × ".join(f"{axis} {size}" for axis, size in axes.items()) or "one device"),
        ("problems", ", ".join(sizes)),
        *_stages(prepared),
        ("demonstrations", prepared.demonstrations),
        ("iterations", f"{config.run.iterations}"),
        ("warm-up", f"{config.warmup.steps} steps of {config.warmup.rows} rows"),
        *_memory(prepared),
        ("functions to compile, about", str(7 + functions)),
        *_times(times),
    ]
    result = rich.table.Table(title=f"{config.method}, seed {config.seed}", show_header=False)
    for name, value in lines:
        result.add_row(name, value)
    return result


def _stages(prepared: Prepared) -> list[tuple[str, str]]:
    """The rollouts of an iteration; of each stage, its problems and lengths too."""
    if not prepared.parts:
        return [("rollouts", f"{prepared.rollouts_per_iteration} an iteration")]
    named = zip(prepared.config.stages, prepared.parts, strict=True)
    return [
        (
            f"stage {stage.name}",
            f"{len(own.train)} problems, {own.config.sampling.max_length} tokens, "
            f"{own.rollouts_per_iteration} rollouts an iteration, "
            + (f"at most {stage.iterations} iterations" if stage.iterations else "then the rest"),
        )
        for stage, own in named
    ]


def _times(times: Mapping[str, float]) -> list[tuple[str, str]]:
    if not times:
        return []
    stages = ((f"  {stage}", _duration(seconds)) for stage, seconds in times.items())
    return [("time here, about", ""), *stages]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _count(tree: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def _memory(prepared: Prepared) -> list[tuple[str, str]]:
    """Per device, while rollouts are sampled and while gradients are computed."""
    exploring, improving = needed(prepared)
    limit = device_memory.available()
    lines = [
        ("exploring, per device, about", human(exploring.total)),
        ("  held by training", human(exploring.held)),
        ("  sampler's weights", human(exploring.weights)),
        ("  key/value cache", human(exploring.pages)),
        ("  working memory, about", human(exploring.working)),
        ("improving, per device, about", human(improving.total)),
        ("  weights", human(improving.weights + improving.base)),
        ("  moments", human(improving.moments)),
        ("  gradients", human(improving.gradients)),
        ("  activations, about", human(improving.activations)),
        ("  logits, about", human(improving.logits)),
    ]
    fits = max(exploring.total, improving.total) <= limit
    verdict = "fits" if fits else "does not fit"
    return [*lines, ("a device of this machine has", f"{human(limit)}: {verdict}")]
