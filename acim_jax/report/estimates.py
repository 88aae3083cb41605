"""The statistics of the report: curves over seeds, binned rates, strata, and the final figures."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from acim_jax.report import data
from acim_jax.report.data import Experiment, Run, When
from acim_jax.report.readers import mapping, number

MEASURES = (
    "accuracy",
    "selection_accuracy",
    "stratum_selection_accuracy",
    "code_rate",
    "executions_per_problem",
)
REFERENCES = ("native", "text", "code", "oracle")
_REFERENCE_KEYS = {
    "native": "eval/accuracy",
    "text": "eval/always_text",
    "code": "eval/always_code",
    "oracle": "eval/oracle",
}
RATE_BINS = 20
#: Bins of Q̂(code) − Q̂(text) are centred on multiples of this, so that 0 is a centre.
GAP_WIDTH = 0.25


@dataclasses.dataclass(frozen=True)
class Curve:
    """A measure over rollouts: one line a seed, and where every seed has a value, their mean.

    low, high: the lowest and highest seed; for a single seed ± one standard error of its
    evaluation, and empty where that is unknown.
    """

    seeds: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]  # (rollouts, values) each
    rollouts: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Spread:
    """One figure over seeds."""

    per_seed: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.per_seed) / len(self.per_seed)

    @property
    def stderr(self) -> float | None:
        """Standard error of the mean over seeds; None for a single one."""
        n = len(self.per_seed)
        return float(np.std(self.per_seed, ddof=1)) / math.sqrt(n) if n > 1 else None


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """Where an arm ended. `problems`: evaluated per seed. `source`: the file of the figures."""

    arm: str
    label: str
    rollouts: tuple[int, ...]  # of each seed
    problems: int | None
    measures: Mapping[str, Spread]
    source: str


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Mean π̂(code|x) in bins of Q̂(code) − Q̂(text). stderr is 0 where a bin has one problem."""

    gap: tuple[float, ...]
    policy_code: tuple[float, ...]
    stderr: tuple[float, ...]
    count: tuple[int, ...]


def curve(runs: Sequence[Run], key: str) -> Curve | None:
    """`key` of metrics.jsonl over cumulative rollouts, None where no run has it."""
    tables = [
        {row.iteration: row.values for row in run.metrics if key in row.values} for run in runs
    ]
    tables = [table for table in tables if table]
    if not tables:
        return None
    seeds = tuple(
        (
            tuple(values.get("rollouts", 0.0) for values in table.values()),
            tuple(values[key] for values in table.values()),
        )
        for table in tables
    )
    shared = sorted(set.intersection(*(set(table) for table in tables)))
    value_SI = np.array([[table[i][key] for i in shared] for table in tables])
    rollout_SI = np.array([[table[i].get("rollouts", 0.0) for i in shared] for table in tables])
    low, high = value_SI.min(axis=0), value_SI.max(axis=0)
    if len(tables) == 1:
        errors = [tables[0][i].get(f"{key}_stderr") for i in shared]
        if any(error is None for error in errors):
            low, high = np.array([]), np.array([])
        else:
            spread = np.array(errors, dtype=float)
            low, high = value_SI[0] - spread, value_SI[0] + spread
    return Curve(
        seeds,
        rollouts=tuple(rollout_SI.mean(axis=0).tolist()),
        mean=tuple(value_SI.mean(axis=0).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def reference_lines(runs: Sequence[Run]) -> dict[str, float]:
    """Accuracy of the start's text, code and oracle runs: iteration 0, the mean over the runs."""
    lines = {}
    for name in REFERENCES[1:]:
        found = [
            row.values[_REFERENCE_KEYS[name]]
            for run in runs
            for row in run.metrics
            if row.iteration == 0 and _REFERENCE_KEYS[name] in row.values
        ]
        if found:
            lines[name] = sum(found) / len(found)
    return lines


def start_accuracy(experiment: Experiment) -> dict[str, float]:
    """Accuracy of the starting checkpoint: native, text, code, oracle, as far as known.

    From the experiment's results.json; what it lacks from iteration 0 of the metrics.
    """
    start = mapping(experiment.results.get("start"))
    lines = {}
    first = [row.values for run in experiment.runs for row in run.metrics if row.iteration == 0]
    for name in REFERENCES:
        key = _REFERENCE_KEYS[name]
        found = [values[key] for values in first if key in values]
        stated = number(mapping(start.get(name)).get("accuracy"))
        if stated is not None:
            lines[name] = stated
        elif found:
            lines[name] = sum(found) / len(found)
    return lines


def arm_results(experiment: Experiment) -> list[ArmResult]:
    """The final figures of each arm.

    From the experiment's results.json; without it from the runs: their final evaluation, else
    the last evaluated line of their metrics.
    """
    stated = mapping(experiment.results.get("arms"))
    results = []
    for arm, runs in experiment.arms().items():
        entry = mapping(stated.get(arm))
        measures = {m: spread for m in MEASURES if (spread := _stated(mapping(entry.get(m))))}
        source = "results.json"
        problems = number(mapping(experiment.results.get("start")).get("n"))
        if not measures:
            finals = [_final_measures(run) for run in runs]
            per_seed = {m: tuple(f[m] for f, _ in finals if m in f) for m in MEASURES}
            measures = {m: Spread(values) for m, values in per_seed.items() if values}
            source = " and ".join(sorted({where for _, where in finals}))
            problems = next((f["n"] for f, _ in finals if "n" in f), None)
        rollouts = tuple(run.rollouts for run in runs if run.rollouts is not None)
        results.append(
            ArmResult(
                arm,
                experiment.label(arm),
                rollouts,
                None if problems is None else int(problems),
                measures,
                source,
            )
        )
    return results


def _stated(entry: Mapping[str, object]) -> Spread | None:
    per_seed = entry.get("per_seed")
    finite = (
        [n for v in per_seed if (n := number(v)) is not None] if isinstance(per_seed, list) else []
    )
    return Spread(tuple(finite)) if finite else None


def _final_measures(run: Run) -> tuple[Mapping[str, float], str]:
    final = run.evaluations.get("final")
    if final and "accuracy" in final.native:
        return final.native, "evaluation/final/results.json"
    evaluated = [row.values for row in run.metrics if "eval/accuracy" in row.values]
    last = evaluated[-1] if evaluated else {}
    named = {key.removeprefix("eval/"): value for key, value in last.items() if "eval/" in key}
    return named, "the last evaluated line of metrics.jsonl"


def histogram(rates: Sequence[float]) -> tuple[list[float], list[float]]:
    """Bin centres on [0, 1] and the share of `rates` in each of RATE_BINS equal bins."""
    counts, edges = np.histogram(rates, bins=RATE_BINS, range=(0.0, 1.0))
    centres = (edges[:-1] + edges[1:]) / 2
    return centres.round(4).tolist(), (counts / max(len(rates), 1)).tolist()


def calibration(runs: Sequence[Run], iterations: Sequence[int]) -> Calibration | None:
    """π̂(code|x) against Q̂(code) − Q̂(text), over the problems of `iterations`; None without any."""
    bins: dict[int, list[float]] = {}
    for run in runs:
        for row in run.values:
            if row.iteration in iterations:
                # Floor of x + 1/2, so that ties go up on both sides of 0.
                index = math.floor((row.value_code - row.value_text) / GAP_WIDTH + 0.5)
                bins.setdefault(index, []).append(row.policy_code)
    if not bins:
        return None
    ordered = sorted(bins)
    spreads = [Spread(tuple(bins[index])) for index in ordered]
    return Calibration(
        gap=tuple(index * GAP_WIDTH for index in ordered),
        policy_code=tuple(spread.mean for spread in spreads),
        stderr=tuple(spread.stderr or 0.0 for spread in spreads),
        count=tuple(len(bins[index]) for index in ordered),
    )


def mean_strata(runs: Sequence[Run], when: When) -> list[data.Stratum]:
    """strata.json averaged over the runs that have it; `n` is that of the first."""
    tables = [run.evaluations[when].strata for run in runs if when in run.evaluations]
    grouped: dict[tuple[str, str], list[data.Stratum]] = {}
    for stratum in (stratum for table in tables for stratum in table):
        grouped.setdefault((stratum.family, stratum.level), []).append(stratum)
    means = []
    for (family, level), strata in sorted(grouped.items()):
        keys = sorted({key for stratum in strata for key in stratum.values})
        values = {}
        for key in keys:
            present = [stratum.values[key] for stratum in strata if key in stratum.values]
            values[key] = sum(present) / len(present)
        means.append(data.Stratum(family, level, strata[0].n, values))
    return means


def by_iteration(
    runs: Sequence[Run], prefix: str, *, mean: bool
) -> tuple[list[int], dict[str, list[float]]]:
    """Metrics that begin with `prefix`, summed (or averaged) over runs: iterations, name → values.

    Names are what follows the prefix. Iterations are those with any such metric; where a name has
    none, it counts as 0.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for row in (row for run in runs for row in run.metrics):
        for key, value in row.values.items():
            if key.startswith(prefix):
                name = key.removeprefix(prefix)
                found.setdefault(name, {}).setdefault(row.iteration, []).append(value)
    iterations = sorted({iteration for values in found.values() for iteration in values})
    series = {}
    for name in sorted(found):
        present = [found[name].get(iteration, [0.0]) for iteration in iterations]
        series[name] = [sum(v) / (len(v) if mean else 1) for v in present]
    return iterations, series
