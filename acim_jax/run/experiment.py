"""Several runs that share a warm-up: named arms × seeds, one after another."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from acim_jax.bad_input import BadInput, reading
from acim_jax.config import experiment as config
from acim_jax.config import stage
from acim_jax.config.experiment import ExperimentConfig
from acim_jax.config.run import RunConfig
from acim_jax.evaluation import over_seeds
from acim_jax.files import atomic, places
from acim_jax.run import folder as run_folder
from acim_jax.run import launch, manifest, metrics, preparation
from acim_jax.run.metric_names import Metric
from acim_jax.run.open_run import Display

log = logging.getLogger(__name__)

SETTINGS = "experiment.yaml"


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of an experiment. arm is None for the shared warm-up."""

    arm: str | None
    config: RunConfig
    folder: Path


def plan(experiment: ExperimentConfig, out: Path) -> list[PlannedRun]:
    """The warm-up and then every arm and seed, starting from it.

    Raises `BadInput` where arms differ in what they would share.
    """
    configs = [run for arm in experiment.arms.values() for run in arm.runs.values()]
    first = configs[0]
    if any(run.evaluation.final_problems == 0 for run in configs):
        raise BadInput(
            "evaluation.final_problems is 0: an experiment compares its arms by their evaluations "
            "at the end; give a number of test problems, or null for all."
        )
    trained_on = {field: getattr(first.data, field) for field in stage.DATA}
    for one in configs:
        run = dataclasses.replace(one, data=dataclasses.replace(one.data, **trained_on))
        for section in ("model", "lora", "warmup", "data"):
            if getattr(run, section) != getattr(first, section):
                raise BadInput(
                    f"arms must share `{section}`: they start from one warmed-up checkpoint and "
                    "are judged on the same problems; put it into `base`. They may be trained on "
                    f"others ({', '.join(stage.DATA)} of data)."
                )
    warmup = out / "warmup"
    shared = dataclasses.replace(
        first,
        method="sft",
        seed=first.seed,
        run=dataclasses.replace(first.run, iterations=0),
        stages=(),
    )
    planned = [PlannedRun(None, shared, warmup)]
    start = dataclasses.replace(first.model, path=str(warmup), init="pretrained")
    for seed in experiment.seeds:
        for name, arm in experiment.arms.items():
            run = dataclasses.replace(
                arm.runs[seed], model=start, warmup=dataclasses.replace(first.warmup, steps=0)
            )
            planned.append(PlannedRun(name, run, out / f"{name}-seed{seed}"))
    return planned


def run(
    experiment: ExperimentConfig,
    out: Path,
    display: Display,
    *,
    resume: bool,
    on_finished: Callable[[Path], None],
) -> None:
    """All runs that are not finished yet, and `out/results.json`.

    on_finished: called with the folder of every run as it ends.
    """
    planned = plan(experiment, out)
    with reading():
        _open_folder(experiment, out, resume)
        preparation.prepare(planned[0].config)
    started = time.perf_counter()
    for number, one in enumerate(planned, 1):
        if launch.is_finished(one.folder, one.config):
            continue
        log.info("run %d of %d: %s", number, len(planned), one.folder.name)
        if run_folder.is_complete(one.folder):
            launch.resume(one.folder, display)
        else:
            with reading():
                prepared = preparation.prepare(one.config)
            launch.start(prepared, one.folder, display)
        on_finished(one.folder)
    results = summarise(experiment, planned, time.perf_counter() - started)
    atomic.write_text(out / "results.json", json.dumps(results, indent=1, default=list) + "\n")


def _open_folder(experiment: ExperimentConfig, out: Path, resume: bool) -> None:
    settings = out / SETTINGS
    text = config.dump(experiment)
    if resume:
        if not settings.is_file():
            raise FileNotFoundError(f"{out} holds no experiment to resume ({SETTINGS} is missing).")
        if settings.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{settings} says other settings than asked for now: resume with the same file and "
                "options, or choose another --out."
            )
        return
    places.check_folder(out, "--out")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: add --resume to go on, or choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    atomic.write_text(settings, text)


def summarise(
    experiment: ExperimentConfig, planned: Sequence[PlannedRun], seconds: float
) -> dict[str, Any]:
    """results.json: every arm's final measures over seeds, and the starting checkpoint's."""
    final = Path("evaluation") / "final"
    start = planned[0].folder / final
    clear = over_seeds.clear_strata(start)
    arms: dict[str, Any] = {}
    for name, arm in experiment.arms.items():
        runs = [one for one in planned if one.arm == name]
        per_seed = [over_seeds.final_measures(one.folder / final, clear) for one in runs]
        arms[name] = {
            "label": arm.label,
            "rollouts": metrics.read(runs[0].folder / "metrics.jsonl")[-1][Metric.ROLLOUTS],
            "seeds": list(experiment.seeds),
            **over_seeds.arm_record(over_seeds.spreads(per_seed)),
        }
    return {
        "arms": arms,
        "start": over_seeds.start_measures(start),
        "seconds": seconds,
        "hardware": dict(manifest.hardware()),
        "config": {"name": experiment.name, "seeds": list(experiment.seeds)},
    }
