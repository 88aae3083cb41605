"""Run folders as records, for the report. Reads files only: no model, no device.

A run folder holds `config.yaml`, `manifest.json`, `metrics.jsonl`, `episodes/`, `values/` and
`evaluation/{start,final}/`; an experiment folder holds run folders named `<arm>-seed<k>`, perhaps a
`warmup/`, and `results.json`. Only `metrics.jsonl` has to be there; what else is missing is left
out of the page. What is there but malformed is a ValueError that names the file and the line.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import yaml

from acim_jax.files import jsonl
from acim_jax.records import DECISIONS
from acim_jax.report import readers
from acim_jax.report.readers import mapping, number

When = Literal["start", "final"]
WHENS: tuple[When, When] = ("start", "final")
ARM_LABELS = {"em": "EM", "rl": "RL", "sft": "SFT"}
_RUN_NAME = re.compile(r"(?P<arm>.+)-seed(?P<seed>\d+)")
_TEXT, _CODE = DECISIONS.index("text"), DECISIONS.index("code")


@dataclasses.dataclass(frozen=True)
class MetricsRow:
    """One line of metrics.jsonl. `values` has the numbers; nulls and non-finite ones are absent."""

    iteration: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Stratum:
    """One family and level of strata.json. `values`: text, code, policy_code, … in [0, 1]."""

    family: str
    level: str
    n: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class ValueRow:
    """Q̂ and π̂ of one problem in one iteration, where both decisions were tried."""

    iteration: int
    value_text: float
    value_code: float
    policy_code: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one of `evaluation/start` and `evaluation/final` holds.

    native: measures of the native results.json entry (accuracy, code_rate, …, n), perhaps empty.
    policy_code: π̂(code|x) of each problem. problem_strata: problem id → `family/level`.
    """

    native: Mapping[str, float]
    strata: tuple[Stratum, ...]
    policy_code: tuple[float, ...]
    problem_strata: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Run:
    """One run folder. `config_text`, `manifest_text` are shown as they stand ('' where missing)."""

    folder: Path
    arm: str
    seed: int
    config_text: str
    manifest_text: str
    metrics: tuple[MetricsRow, ...]
    values: tuple[ValueRow, ...]
    evaluations: Mapping[When, Evaluation]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def rollouts(self) -> int | None:
        """Training rollouts made so far, or None where no line counts them."""
        counts = [row.values["rollouts"] for row in self.metrics if "rollouts" in row.values]
        return int(counts[-1]) if counts else None

    def iterations(self) -> list[MetricsRow]:
        """The lines of training iterations (0 is the starting point)."""
        return [row for row in self.metrics if row.iteration > 0]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Every run of the page, arm by arm. `results` is the experiment's results.json, if any."""

    runs: tuple[Run, ...]
    results: Mapping[str, object]
    skipped: tuple[str, ...]  # run folders without a metrics.jsonl

    def arms(self) -> dict[str, tuple[Run, ...]]:
        """Runs by arm, EM and RL first, each by seed."""
        first = list(ARM_LABELS)
        names = sorted({run.arm for run in self.runs}, key=lambda arm: (_rank(arm, first), arm))
        return {
            arm: tuple(sorted((r for r in self.runs if r.arm == arm), key=lambda run: run.seed))
            for arm in names
        }

    def label(self, arm: str) -> str:
        """The name of an arm for people."""
        entry = mapping(mapping(self.results.get("arms")).get(arm))
        return str(entry.get("label") or ARM_LABELS.get(arm, arm))


def _rank(arm: str, first: Sequence[str]) -> int:
    return first.index(arm) if arm in first else len(first)


def load(folders: Sequence[Path]) -> Experiment:
    """Reads run folders, or experiment folders with run folders in them.

    Raises FileNotFoundError for a folder that is not there, ValueError for one without a run and
    for malformed files.
    """
    runs: list[Run] = []
    results: Mapping[str, object] = {}
    skipped: list[str] = []
    for folder in folders:
        folder = folder.resolve()
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; give run or experiment folders.")
        found, left = _run_folders(folder)
        skipped += left
        runs += [read_run(one) for one in found]
        if found != [folder] and (folder / "results.json").is_file():
            results = readers.read_object(folder / "results.json")
    return Experiment(tuple(_distinct(runs)), results, tuple(skipped))


def _run_folders(folder: Path) -> tuple[list[Path], list[str]]:
    """The run folders in `folder` (or itself), and the names of those that hold no metrics yet."""
    if (folder / "metrics.jsonl").is_file():
        return [folder], []
    children = sorted(c for c in folder.iterdir() if c.is_dir() and c.name != "warmup")
    found = [c for c in children if (c / "metrics.jsonl").is_file()]
    if not found:
        raise ValueError(
            f"{folder} holds no metrics.jsonl and no run folder with one; give the folder that "
            "`acim train` or `acim experiment` wrote, after its first iteration."
        )
    left = [c.name for c in children if c not in found and _RUN_NAME.fullmatch(c.name)]
    return found, left


def _distinct(runs: Iterable[Run]) -> list[Run]:
    """Runs that share arm and seed become arms of their own, named after their folders."""
    runs = list(runs)
    keys = [(run.arm, run.seed) for run in runs]
    names = [run.name for run in runs]
    apart = [run.name if names.count(run.name) == 1 else str(run.folder) for run in runs]
    return [
        dataclasses.replace(run, arm=own) if keys.count(key) > 1 else run
        for run, key, own in zip(runs, keys, apart, strict=True)
    ]


def read_run(folder: Path) -> Run:
    """Reads one run folder, all but its episodes."""
    config_text = readers.text(folder / "config.yaml")
    try:
        config = mapping(yaml.safe_load(config_text))
    except yaml.YAMLError as error:
        raise ValueError(f"{folder / 'config.yaml'} is not valid YAML: {error}") from error
    named = _RUN_NAME.fullmatch(folder.name)
    seed = number(config.get("seed"))
    manifest = folder / "manifest.json"
    return Run(
        folder=folder,
        arm=named["arm"] if named else str(config.get("method") or folder.name),
        seed=int(named["seed"]) if named else int(seed or 0),
        config_text=config_text,
        manifest_text=json.dumps(readers.read_object(manifest), indent=2)
        if manifest.is_file()
        else "",
        metrics=_read_metrics(folder / "metrics.jsonl"),
        values=_read_values(folder / "values"),
        evaluations={
            when: _read_evaluation(folder / "evaluation" / when)
            for when in WHENS
            if (folder / "evaluation" / when).is_dir()
        },
    )


def _read_metrics(path: Path) -> tuple[MetricsRow, ...]:
    rows: list[MetricsRow] = []
    for line, row in jsonl.read(path):
        iteration = row.get("iteration")
        if isinstance(iteration, bool) or not isinstance(iteration, int):
            raise ValueError(f"{path}:{line}: 'iteration' must be an integer, got {iteration!r}.")
        for key, value in row.items():
            if value is not None and (isinstance(value, bool | str | list | dict)):
                raise ValueError(f"{path}:{line}: {key!r} must be a number or null, got {value!r}.")
        values = {key: n for key, value in row.items() if (n := number(value)) is not None}
        rows.append(MetricsRow(iteration, values))
    if not rows:
        raise ValueError(f"{path} is empty; a report needs at least one evaluated iteration.")
    return tuple(rows)


def _read_values(folder: Path) -> tuple[ValueRow, ...]:
    rows: list[ValueRow] = []
    for iteration, path in readers.iteration_files(folder):
        for line, row in jsonl.read(path):
            value, policy = (_pair(row.get(key), path, line, key) for key in ("value", "policy"))
            text, code, prior = value[_TEXT], value[_CODE], policy[_CODE]
            if text is not None and code is not None and prior is not None:
                rows.append(ValueRow(iteration, text, code, prior))
    return tuple(rows)


def _pair(value: object, path: Path, line: int, key: str) -> tuple[float | None, float | None]:
    if not isinstance(value, list) or len(value) != len(DECISIONS):
        raise ValueError(f"{path}:{line}: {key!r} must be [text, code], got {value!r}.")
    return number(value[0]), number(value[1])


def _read_evaluation(folder: Path) -> Evaluation:
    policy: list[float] = []
    problem_strata: dict[str, str] = {}
    problems = folder / "problems.jsonl"
    for _, row in jsonl.read(problems) if problems.is_file() else []:
        problem_strata[str(row.get("problem_id"))] = str(row.get("stratum") or "all/-")
        if (probability := number(row.get("policy_code"))) is not None:
            policy.append(probability)
    results = folder / "results.json"
    return Evaluation(
        native=_native(readers.read_object(results)) if results.is_file() else {},
        strata=_read_strata(folder / "strata.json"),
        policy_code=tuple(policy),
        problem_strata=problem_strata,
    )


def _native(results: Mapping[str, object]) -> dict[str, float]:
    """Native measures over all data files, weighted by their problems.

    Selection accuracy has another denominator in every file, so it is given for one file only.
    """
    files = [mapping(entry) for entry in mapping(results.get("data")).values()]
    natives = [mapping(entry.get("native")) for entry in files]
    counts = [number(native.get("n")) or 0.0 for native in natives]
    total = sum(counts)
    if total == 0:
        return {}
    measures = {"n": total}
    for key in ("accuracy", "code_rate", "executions_per_problem"):
        parts = [number(native.get(key)) for native in natives]
        if all(part is not None for part in parts):
            weighted = (c * (p or 0.0) for c, p in zip(counts, parts, strict=True))
            measures[key] = sum(weighted) / total
    if len(files) == 1:
        stderr = number(natives[0].get("stderr"))
        selection = number(mapping(files[0].get("decisions")).get("selection_accuracy"))
        measures |= {} if stderr is None else {"accuracy_stderr": stderr}
        measures |= {} if selection is None else {"selection_accuracy": selection}
    return measures


def _read_strata(path: Path) -> tuple[Stratum, ...]:
    if not path.is_file():
        return ()
    content = readers.read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a list of strata, got {type(content).__name__}.")
    strata: list[Stratum] = []
    for position, entry in enumerate(content):
        row = mapping(entry)
        family, slash, level = str(row.get("stratum", "")).rpartition("/")
        if not slash:
            raise ValueError(
                f"{path}: stratum {position} needs 'stratum' as family/level, got {entry!r}."
            )
        values = {key: n for key, value in row.items() if (n := number(value)) is not None}
        strata.append(Stratum(family, level, int(values.pop("n", 0)), values))
    return tuple(strata)
