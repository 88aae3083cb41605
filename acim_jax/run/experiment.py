"""Several runs that share a warm-up: named arms × seeds, one after another, then the report."""

import dataclasses
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acim_jax.bad_input import BadInput, reading
from acim_jax.config import run as config
from acim_jax.config.run import ExperimentConfig, RunConfig
from acim_jax.evaluation import selection
from acim_jax.files import atomic, jsonl
from acim_jax.records import Problem
from acim_jax.run import folder as run_folder
from acim_jax.run import launch, manifest, training
from acim_jax.run.warm_up import Display

log = logging.getLogger(__name__)

#: A stratum of the starting checkpoint favours a decision if their mean rewards differ by more.
CLEAR_GAP = 0.15
SETTINGS = "experiment.yaml"
MEASURES = (
    "accuracy",
    "selection_accuracy",
    "stratum_selection_accuracy",
    "code_rate",
    "executions_per_problem",
)


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
    for run in configs:
        for section in ("model", "lora", "warmup", "data"):
            if getattr(run, section) != getattr(first, section):
                raise BadInput(
                    f"arms must share `{section}`: they start from one warmed-up checkpoint and "
                    "are judged on the same problems; put it into `base`."
                )
    warmup = out / "warmup"
    shared = dataclasses.replace(
        first, method="sft", seed=first.seed, run=dataclasses.replace(first.run, iterations=0)
    )
    planned = [PlannedRun(None, shared, warmup)]
    start = dataclasses.replace(first.model, path=str(warmup), init="pretrained")
    for seed in experiment.seeds:
        for name, arm in experiment.arms.items():
            run = dataclasses.replace(
                arm.runs[seed],
                model=start,
                warmup=dataclasses.replace(first.warmup, steps=0),
            )
            planned.append(PlannedRun(name, run, out / f"{name}-seed{seed}"))
    return planned


def run(experiment: ExperimentConfig, out: Path, display: Display, *, resume: bool) -> None:
    """All runs that are not finished yet, `DIR/results.json`, and the report."""
    planned = plan(experiment, out)
    with reading():
        _open_folder(experiment, out, resume)
        training.prepare(planned[0].config)
        for one in planned[1:]:
            training.check(one.config)
    started = time.perf_counter()
    for number, one in enumerate(planned, 1):
        if launch.is_finished(one.folder, one.config):
            continue
        log.info("run %d of %d: %s", number, len(planned), one.folder.name)
        if run_folder.is_complete(one.folder):
            launch.resume(one.folder, display)
        else:
            with reading():
                prepared = training.prepare(one.config)
            launch.start(prepared, one.folder, display)
    results = summarise(experiment, planned, time.perf_counter() - started)
    atomic.write_text(out / "results.json", json.dumps(results, indent=1, default=list) + "\n")
    launch.write_report(out)


def _open_folder(experiment: ExperimentConfig, out: Path, resume: bool) -> None:
    settings = out / SETTINGS
    text = config.dump_experiment(experiment)
    if resume:
        if not settings.is_file():
            raise FileNotFoundError(f"{out} holds no experiment to resume ({SETTINGS} is missing).")
        if settings.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{settings} says other settings than asked for now: resume with the same file and "
                "options, or choose another --out."
            )
        return
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: add --resume to go on, or choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    atomic.write_text(settings, text)


def summarise(
    experiment: ExperimentConfig, planned: Sequence[PlannedRun], seconds: float
) -> dict[str, Any]:
    """results.json: every arm's final measures per seed, mean and standard error over seeds, and
    the starting checkpoint's."""
    start_folder = planned[0].folder / "evaluation" / "final"
    start = _rows(start_folder / "problems.jsonl")
    validation = _rows(start_folder / "validation.jsonl")
    better = _better(validation)
    arms: dict[str, Any] = {}
    for name, arm in experiment.arms.items():
        runs = [one for one in planned if one.arm == name]
        per_seed = [_final_measures(one.folder, validation) for one in runs]
        arms[name] = {
            "label": arm.label,
            "rollouts": _rollouts(runs[0].config),
            "seeds": list(experiment.seeds),
            **{key: _over_seeds([measures[key] for measures in per_seed]) for key in MEASURES},
        }
    mean = lambda key: float(np.mean([row[key] for row in start]))  # noqa: E731
    oracle = [row["code" if better.get(row["stratum"]) == "code" else "text"] for row in start]
    return {
        "arms": arms,
        "start": {
            "n": len(start),
            "code_prior": mean("policy_code"),
            "native": {"accuracy": mean("native")},
            "text": {"accuracy": mean("text")},
            "code": {"accuracy": mean("code")},
            "oracle": {"accuracy": float(np.mean(oracle))},
        },
        "seconds": seconds,
        "hardware": dict(manifest.hardware()),
        "config": {"name": experiment.name, "seeds": list(experiment.seeds)},
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in jsonl.read(path)]


def _better(validation: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The better decision of each stratum, from the starting checkpoint's validation runs."""
    problems = [
        Problem(row["problem_id"], "", "", subject=row["family"], level=row["level"])
        for row in validation
    ]
    text, code = ([row[d] for row in validation] for d in ("text", "code"))
    return dict(selection.better_decisions(problems, text, code))


def clear_strata(validation: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The better decision of the strata in which the two differ by more than CLEAR_GAP."""
    rewards: dict[str, list[tuple[float, float]]] = {}
    for row in validation:
        rewards.setdefault(row["stratum"], []).append((row["text"], row["code"]))
    gaps = {
        stratum: float(np.mean([c - t for t, c in pairs])) for stratum, pairs in rewards.items()
    }
    return {
        stratum: "code" if gap > 0 else "text"
        for stratum, gap in gaps.items()
        if abs(gap) > CLEAR_GAP
    }


def _final_measures(
    folder: Path, validation: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    final = folder / "evaluation" / "final"
    results = json.loads((final / "results.json").read_text(encoding="utf-8"))["data"]["test"]
    clear = clear_strata(validation)
    hits = [
        row["decision"] == clear[row["stratum"]]
        for row in _rows(final / "problems.jsonl")
        if row["stratum"] in clear
    ]
    return {
        "accuracy": results["native"]["accuracy"],
        "selection_accuracy": results["decisions"]["selection_accuracy"],
        "stratum_selection_accuracy": float(np.mean(hits)) if hits else None,
        "code_rate": results["native"]["code_rate"],
        "executions_per_problem": results["native"]["executions_per_problem"],
    }


def _over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """stderr: of the mean over seeds; None for a single seed."""
    known = [value for value in values if value is not None]
    n = len(known)
    return {
        "per_seed": list(values),
        "mean": float(np.mean(known)) if known else None,
        "stderr": float(np.std(known, ddof=1) / math.sqrt(n)) if n > 1 else None,
    }


def _rollouts(run: RunConfig) -> int:
    return run.run.iterations * run.explore.problems * run.explore.rollouts_per_problem
