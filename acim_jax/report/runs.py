"""Run folders as records for the page. Reads files only: no model, no device.

A run folder holds `config.yaml`, `manifest.json`, `metrics.jsonl`, `episodes/`, `values/` and
`evaluation/{start,final}/`; an experiment folder holds run folders named `<arm>-seed<k>`, perhaps a
`warmup/`, and `results.json`. Only `metrics.jsonl` has to be there; what else is missing is left
out of the page. What is there but malformed is a ValueError that names the file and the line.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from acim_jax.evaluation import over_seeds
from acim_jax.evaluation.over_seeds import Results
from acim_jax.files import jsonl
from acim_jax.run import metrics
from acim_jax.run.metric_names import Metric

WHENS = ("start", "final")
ARM_LABELS = {"em": "EM", "rl": "RL", "sft": "SFT"}
_STARTS = {
    "native": Metric.ACCURACY,
    "text": Metric.ALWAYS_TEXT,
    "code": Metric.ALWAYS_CODE,
    "oracle": Metric.ORACLE,
}
_RUN_NAME = re.compile(r"(?P<arm>.+)-seed(?P<seed>\d+)")
Record = TypeVar("Record", bound=pydantic.BaseModel)


class Stratum(pydantic.BaseModel):
    """Means of a stratum (`family/level`): of forced and native runs, and π̂(code|x), in [0, 1]."""

    stratum: str
    n: int
    text: float
    code: float
    policy_code: float
    native: float | None = None


class EvaluatedProblem(pydantic.BaseModel):
    """A line of `problems.jsonl`, as far as the page needs it."""

    problem_id: str
    stratum: str
    policy_code: float


class Value(pydantic.BaseModel):
    """π̂ and Q̂ of a training problem, text first; None for a decision that was not tried."""

    policy: tuple[float, float]
    value: tuple[float | None, float | None]


@dataclasses.dataclass(frozen=True)
class Run:
    """One run folder. `config` and `manifest` are texts to show.

    value_pseudo_counts: `explore`'s. gaps: by iteration, of each problem where both decisions were
    tried, Q̂(code) − Q̂(text) and π̂(code|x). strata, problems: of the evaluations, by `WHENS`.
    """

    folder: Path
    arm: str
    seed: int
    config: str
    manifest: str
    value_pseudo_counts: float
    metrics: Sequence[Mapping[str, float]]
    gaps: Mapping[int, Sequence[tuple[float, float]]]
    strata: Mapping[str, Sequence[Stratum]]
    problems: Mapping[str, Sequence[EvaluatedProblem]]

    @property
    def rollouts(self) -> int | None:
        """Training rollouts made so far, None where no line counts them."""
        counts = [int(line[Metric.ROLLOUTS]) for line in self.metrics if Metric.ROLLOUTS in line]
        return counts[-1] if counts else None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The runs of a page by arm, each by seed. results: of results.json, if there is one.

    skipped: run folders without a metrics.jsonl.
    """

    arms: Mapping[str, Sequence[Run]]
    results: Results | None
    skipped: Sequence[str]

    @property
    def runs(self) -> list[Run]:
        return [run for runs in self.arms.values() for run in runs]

    @property
    def start(self) -> dict[str, float]:
        """Accuracies at iteration 0 by `over_seeds.STARTS`, means over the runs that state them."""
        first = [line for run in self.runs for line in run.metrics if line["iteration"] == 0]
        found = {
            name: [line[key] for line in first if key in line] for name, key in _STARTS.items()
        }
        return {name: sum(values) / len(values) for name, values in found.items() if values}

    def label(self, arm: str) -> str:
        """The name of an arm for people."""
        stated = self.results.arms if self.results else {}
        return stated[arm].label if arm in stated else ARM_LABELS.get(arm, arm)


def load(folders: Sequence[Path]) -> Experiment:
    """Reads run folders, or experiment folders with run folders in them.

    Raises FileNotFoundError for a folder that is not there, ValueError for one without a run and
    for malformed files.
    """
    runs: list[Run] = []
    results = None
    skipped: list[str] = []
    for folder in map(Path.resolve, folders):
        found, without_metrics = _run_folders(folder)
        skipped += without_metrics
        runs += map(_read_run, found)
        if found != [folder] and (folder / "results.json").is_file():
            results = over_seeds.read(folder / "results.json")
    runs = sorted(_distinct(runs), key=lambda run: (run.arm, run.seed))
    arms = {arm: list(found) for arm, found in itertools.groupby(runs, lambda run: run.arm)}
    return Experiment(arms, results, skipped)


def check(kind: type[Record], record: object, where: object) -> Record:
    """`record` as `kind`; a ValueError that begins with `where` if it is something else."""
    try:
        return kind.model_validate(record)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {name!r}: {first['msg']}.") from error


def iteration_files(folder: Path) -> list[tuple[int, Path]]:
    """`iteration_0001.jsonl` and its like (also `.gz`), in order, with their numbers."""
    found = ((re.match(r"iteration_(\d+)\.jsonl", p.name), p) for p in folder.glob("iteration_*"))
    return sorted((int(match[1]), path) for match, path in found if match)


def _run_folders(folder: Path) -> tuple[list[Path], list[str]]:
    """The run folders in `folder` (or itself), and the names of those that hold no metrics yet."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give run or experiment folders.")
    if (folder / "metrics.jsonl").is_file():
        return [folder], []
    children = sorted(c for c in folder.iterdir() if c.is_dir() and not c.name.startswith("warmup"))
    found = [c for c in children if (c / "metrics.jsonl").is_file()]
    if not found:
        raise ValueError(
            f"{folder} holds no metrics.jsonl and no run folder with one; give the folder that "
            "`acim train` or `acim experiment` wrote, after its first iteration."
        )
    return found, [c.name for c in children if c not in found and _RUN_NAME.fullmatch(c.name)]


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """Runs that share arm and seed become arms of their own, named after their folders."""
    keys = [(run.arm, run.seed) for run in runs]
    names = [run.folder.name for run in runs]
    return [
        run if keys.count(key) == 1
        else dataclasses.replace(run, arm=name if names.count(name) == 1 else str(run.folder))
        for run, key, name in zip(runs, keys, names, strict=True)
    ]  # fmt: skip


def _read_run(folder: Path) -> Run:
    """One run folder, all but its episodes."""
    path = folder / "config.yaml"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    named = _RUN_NAME.fullmatch(folder.name)
    evaluation = folder / "evaluation"
    manifest = _json(folder / "manifest.json", {})
    return Run(
        folder,
        arm=named["arm"] if named else config.get("method") or folder.name,
        seed=int(named["seed"] if named else config.get("seed") or 0),
        config=text,
        manifest=json.dumps(manifest, indent=2) if manifest else "",
        value_pseudo_counts=float((config.get("explore") or {}).get("value_pseudo_counts") or 0),
        metrics=_metrics(folder / "metrics.jsonl"),
        gaps={i: _gaps(file) for i, file in iteration_files(folder / "values")},
        strata={
            when: [check(Stratum, record, path) for record in _json(path, [])]
            for when, path in ((when, evaluation / when / "strata.json") for when in WHENS)
        },
        problems={
            when: _lines(evaluation / when / "problems.jsonl", EvaluatedProblem) for when in WHENS
        },
    )


def _metrics(path: Path) -> list[dict[str, float]]:
    lines = metrics.read(path)
    if not lines:
        raise ValueError(f"{path} is empty; a report needs at least one evaluated iteration.")
    return [{k: float(v) for k, v in line.items() if isinstance(v, int | float)} for line in lines]


def _gaps(path: Path) -> list[tuple[float, float]]:
    values = [(*one.value, one.policy[1]) for one in _lines(path, Value)]
    return [(code - text, p) for text, code, p in values if text is not None and code is not None]


def _lines(path: Path, kind: type[Record]) -> list[Record]:
    if not path.is_file():
        return []
    return [check(kind, record, f"{path}:{line}") for line, record in jsonl.read(path)]


def _json(path: Path, missing: Any) -> Any:
    """The content of a JSON file, of the type of `missing`, which stands for no file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else missing
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not valid JSON: {error.msg}.") from error
    if not isinstance(content, type(missing)):
        raise ValueError(f"{path} must hold a JSON {type(missing).__name__}, got {content!r:.80}.")
    return content
