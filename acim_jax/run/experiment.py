"""Several runs that are compared: named arms × seeds, one after another, from shared warm-ups."""

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
from acim_jax.improve.config import WarmupConfig
from acim_jax.run import folder as run_folder
from acim_jax.run import launch, manifest, metrics, preparation
from acim_jax.run.metric_names import Metric
from acim_jax.run.open_run import Display

log = logging.getLogger(__name__)

SETTINGS = "experiment.yaml"
#: Folders of warm-ups begin with this.
WARMUP = "warmup"
#: Fields of `data` that arms need not share: what they are trained on, not what judges them.
MAY_DIFFER = (*stage.DATA, "demonstrations")


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of an experiment. arm is None for a warm-up, start for what begins with none."""

    arm: str | None
    config: RunConfig
    folder: Path
    start: Path | None = None


def plan(experiment: ExperimentConfig, out: Path) -> list[PlannedRun]:
    """The warm-ups, and then every arm and seed, each starting from its own.

    Arms whose `warmup` and demonstrations are the same share one. Raises `BadInput` where arms
    differ in what they have to share.
    """
    configs = [run for arm in experiment.arms.values() for run in arm.runs.values()]
    first = configs[0]
    if any(run.evaluation.final_problems == 0 for run in configs):
        raise BadInput(
            "evaluation.final_problems is 0: an experiment compares its arms by their evaluations "
            "at the end; give a number of test problems, or null for all."
        )
    for run in configs:
        for section in ("model", "lora", "data"):
            if _shared(run, section) != _shared(first, section):
                raise BadInput(
                    f"arms must share `{section}`: they start from the same model and are judged "
                    "on the same problems; put it into `base`. Only `warmup` and, of data, "
                    f"{', '.join(MAY_DIFFER)} may differ."
                )
    warmups: dict[tuple[WarmupConfig, str | None], PlannedRun] = {}
    planned: list[PlannedRun] = []
    for seed in experiment.seeds:
        for name, arm in experiment.arms.items():
            own = arm.runs[seed]
            folder = out / (f"{WARMUP}-{name}" if warmups else WARMUP)
            key = own.warmup, own.data.demonstrations
            start = warmups.setdefault(key, PlannedRun(None, _warm_up(own, first.seed), folder))
            model = dataclasses.replace(own.model, path=str(start.folder), init="pretrained")
            warmed = dataclasses.replace(own.warmup, steps=0)
            run = dataclasses.replace(own, model=model, warmup=warmed)
            planned.append(PlannedRun(name, run, out / f"{name}-seed{seed}", start.folder))
    return [*warmups.values(), *planned]


def _shared(run: RunConfig, section: str) -> Any:
    found = getattr(run, section)
    if section != "data":
        return found
    return {name: value for name, value in vars(found).items() if name not in MAY_DIFFER}


def _warm_up(run: RunConfig, seed: int) -> RunConfig:
    """The warm-up of a run by itself."""
    settings = dataclasses.replace(run.run, iterations=0)
    return dataclasses.replace(run, method="sft", seed=seed, run=settings, stages=())


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
    """results.json: every arm's final measures over seeds, and those of the warm-ups. `start`, and
    the strata that selection is judged by, are the first arm's warm-up's."""
    final = Path("evaluation") / "final"
    start = planned[0].folder / final
    clear = over_seeds.clear_strata(start)
    arms: dict[str, Any] = {}
    for name, arm in experiment.arms.items():
        runs = [one for one in planned if one.arm == name]
        per_seed = [over_seeds.final_measures(one.folder / final, clear) for one in runs]
        begun = runs[0].start
        arms[name] = {
            "label": arm.label,
            "rollouts": metrics.read(runs[0].folder / "metrics.jsonl")[-1][Metric.ROLLOUTS],
            "seeds": list(experiment.seeds),
            "start": None if begun is None else begun.name,
            **over_seeds.arm_record(over_seeds.spreads(per_seed)),
        }
    return {
        "arms": arms,
        "start": over_seeds.start_measures(start),
        "starts": {
            one.folder.name: over_seeds.start_measures(one.folder / final)
            for one in planned
            if one.arm is None
        },
        "seconds": seconds,
        "hardware": dict(manifest.hardware()),
        "config": {"name": experiment.name, "seeds": list(experiment.seeds)},
    }
