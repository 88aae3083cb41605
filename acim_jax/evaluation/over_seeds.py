"""What the arms of an experiment and their start reach, as means and standard errors over seeds.

The oracle is the selector that takes, in each stratum, the decision that is better on the
validation problems at the start (`selection.better_decisions`).
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from acim_jax.evaluation import comparable, selection, tables
from acim_jax.evaluation.selection import Record
from acim_jax.files import jsonl
from acim_jax.records import group_by

#: Measures of a finished run, with their titles.
MEASURES = {
    "accuracy": "accuracy",
    "selection_accuracy": "selection accuracy",
    "stratum_selection_accuracy": "selection accuracy per stratum",
    "code_rate": "code rate",
    "executions_per_problem": "programs per problem",
}
#: Policies whose accuracy is known at the start, with their titles.
STARTS = {
    "native": "start, decides itself",
    "text": "start, always text",
    "code": "start, always code",
    "oracle": "start, oracle",
}
#: A stratum favours a decision if the mean rewards at the start differ by more.
CLEAR_GAP = 0.15
MISSING = "–"

#: The numbers of a line of metrics.jsonl.
Metrics = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Spread:
    """One figure over seeds; None for a seed without a value."""

    per_seed: tuple[float | None, ...]

    @property
    def known(self) -> tuple[float, ...]:
        return tuple(value for value in self.per_seed if value is not None)

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.known)) if self.known else None

    @property
    def stderr(self) -> float | None:
        """Standard error of the mean over seeds; None for a single one."""
        n = len(self.known)
        return float(np.std(self.known, ddof=1) / math.sqrt(n)) if n > 1 else None

    def __str__(self) -> str:
        if self.mean is None:
            return MISSING
        return f"{self.mean:.3f}" + ("" if self.stderr is None else f" ± {self.stderr:.3f}")


class Curve(NamedTuple):
    """A metric over training rollouts.

    seeds: (rollouts, values) of each run that has it. The rest stands where each of these has a
    value: mean, lowest and highest over seeds. For a single run `low` and `high` are one standard
    error of its evaluation away, and empty where that is unknown.
    """

    seeds: list[tuple[list[float], list[float]]]
    rollouts: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclasses.dataclass(frozen=True)
class Arm:
    """Where an arm ended. rollouts: of training, by seed."""

    label: str
    rollouts: tuple[int, ...]
    measures: Mapping[str, Spread]

    @property
    def shown_rollouts(self) -> str:
        return " / ".join(f"{count:,}" for count in sorted(set(self.rollouts))) or MISSING


@dataclasses.dataclass(frozen=True)
class Results:
    """The content of results.json, or of runs without one, as far as known.

    start: accuracies of `STARTS`. problems: evaluated by every run. facts: more to tell people.
    """

    start: Mapping[str, float]
    arms: Mapping[str, Arm]
    problems: int | None
    facts: Sequence[str] = ()


def start_measures(folder: Path) -> dict[str, Any]:
    """`start` of results.json, from the starting checkpoint's evaluation in `folder`."""
    problems = read_problems(folder / "problems.jsonl")
    better = selection.better_decisions(read_problems(folder / "validation.jsonl"))
    rewards = {name: [record[name] for record in problems] for name in ("native", "text", "code")}
    rewards["oracle"] = selection.oracle_rewards(problems, better)
    return {
        "n": len(problems),
        "code_prior": tables.mean([record["policy_code"] for record in problems]),
        **{name: {"accuracy": tables.mean(of_policy)} for name, of_policy in rewards.items()},
    }


def clear_strata(start: Path) -> dict[str, str]:
    """The better decision of the strata in which the two differ clearly at the start."""
    gaps = selection.gaps(read_problems(start / "validation.jsonl"))
    clear = {stratum: gap for stratum, gap in gaps.items() if abs(gap) > CLEAR_GAP}
    return {stratum: "code" if gap > 0 else "text" for stratum, gap in clear.items()}


def final_measures(folder: Path, clear: Mapping[str, str]) -> dict[str, float | None]:
    """`MEASURES` of the evaluation in `folder`, and its number of problems as `n`.

    Selection accuracy per stratum is the share of the problems in `clear` strata (of
    `clear_strata`) that got their stratum's decision; None without any.
    """
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    entry = next((entry for entry in results["data"].values() if "native" in entry), {})
    measures = {**entry.get("decisions", {}), **entry.get("native", {})}
    records = read_problems(folder / "problems.jsonl") if clear else []
    hits = [r["decision"] == clear[r["stratum"]] for r in records if r["stratum"] in clear]
    measures["stratum_selection_accuracy"] = tables.mean(hits)
    return {key: measures.get(key) for key in (*MEASURES, "n")}


def differing(runs: Sequence[Path]) -> list[str]:
    """In which parts the final evaluations of the runs that have one are not comparable."""
    paths = [run / "evaluation" / "final" / "results.json" for run in runs]
    several = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    return comparable.differing([one["comparable"] for one in several if "comparable" in one])


def spreads(per_seed: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    """Each of `MEASURES` over seeds."""
    return {key: Spread(tuple(measures.get(key) for measures in per_seed)) for key in MEASURES}


def arm_record(measures: Mapping[str, Spread]) -> dict[str, Any]:
    """The measures of one of results.json's `arms`."""
    return {
        key: {"per_seed": list(spread.per_seed), "mean": spread.mean, "stderr": spread.stderr}
        for key, spread in measures.items()
    }


def read(path: Path) -> Results:
    """An experiment's results.json. ValueError, naming the file, for something else."""
    try:
        return _results(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the results.json of an experiment: {error!r}.") from error


def _results(content: Record) -> Results:
    start, hardware = content["start"], content["hardware"]
    arms = {
        name: Arm(
            entry["label"],
            (entry["rollouts"],),
            {key: Spread(tuple(entry[key]["per_seed"])) for key in MEASURES if key in entry},
        )
        for name, entry in content["arms"].items()
    }
    facts = [
        f"code prior of the start {start['code_prior']:.3f}",
        *(f"{name}: {value}" for name, value in hardware.items()),
        f"{content['seconds'] / 60:.1f} minutes in all",
    ]
    return Results({name: start[name]["accuracy"] for name in STARTS}, arms, start["n"], facts)


def table(results: Results, measures: Sequence[str]) -> list[tuple[str, ...]]:
    """Lines of name, rollouts, seeds and `measures`: the start's policies, then the arms."""
    lines = []
    for name, title in STARTS.items():
        if name in results.start:
            known = {"accuracy": f"{results.start[name]:.3f}"}
            lines.append((title, MISSING, MISSING, *(known.get(key, MISSING) for key in measures)))
    for arm in results.arms.values():
        seeds = max((len(spread.per_seed) for spread in arm.measures.values()), default=0)
        figures = (str(arm.measures.get(key, MISSING)) for key in measures)
        lines.append((arm.label, arm.shown_rollouts, str(seeds), *figures))
    return lines


def curve(runs: Sequence[Sequence[Metrics]], key: str, rollouts: str) -> Curve | None:
    """`key` of the runs' metrics over their `rollouts`; None where no run has it.

    `<key>_stderr` is its standard error in one run.
    """
    by_run = [{line["iteration"]: line for line in lines if key in line} for lines in runs]
    by_run = [table for table in by_run if table]
    if not by_run:
        return None
    shared = sorted(set.intersection(*(set(table) for table in by_run)))

    def grid(name: str, missing: float) -> np.ndarray:
        return np.array([[table[i].get(name, missing) for i in shared] for table in by_run])

    value_SI = grid(key, math.nan)
    low_I, high_I = value_SI.min(axis=0), value_SI.max(axis=0)
    if len(by_run) == 1:
        error_I = grid(f"{key}_stderr", math.nan)[0]
        low_I, high_I = low_I - error_I, high_I + error_I
    if np.isnan(low_I).any():
        low_I = high_I = np.array([])
    means = (grid(rollouts, 0.0).mean(axis=0), value_SI.mean(axis=0))
    x_y = [[[line.get(name, 0.0) for line in table.values()] for name in (rollouts, key)]
           for table in by_run]  # fmt: skip
    return Curve([(x, y) for x, y in x_y], *(line.tolist() for line in (*means, low_I, high_I)))


def by_iteration(
    runs: Sequence[Sequence[Metrics]], prefix: str, *, mean: bool
) -> tuple[list[int], dict[str, list[float]]]:
    """Metrics that begin with `prefix`, summed (or averaged) over runs: iterations, name → values.

    Iterations are those with any such metric; where a name has none, it counts as 0.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for line in (line for lines in runs for line in lines):
        for key in (key for key in line if key.startswith(prefix)):
            found.setdefault(key, {}).setdefault(int(line["iteration"]), []).append(line[key])
    iterations = sorted({iteration for values in found.values() for iteration in values})
    average = np.mean if mean else np.sum
    return iterations, {
        name: [float(average(found[name].get(iteration, [0.0]))) for iteration in iterations]
        for name in sorted(found)
    }


def mean_strata(runs: Sequence[Sequence[Record]]) -> list[dict[str, Any]]:
    """Runs' strata.json, averaged number by number; a number counts where a run has it."""
    records = itertools.chain.from_iterable(runs)
    means = []
    for stratum, group in sorted(group_by(records, lambda record: record["stratum"]).items()):
        found: dict[str, Any] = {"stratum": stratum}
        for key in {key for one in group for key in one if isinstance(one[key], int | float)}:
            found[key] = tables.mean([one[key] for one in group if one.get(key) is not None])
        means.append(found)
    return means


def read_problems(path: Path) -> list[Record]:
    """The records of a problems.jsonl or a validation.jsonl."""
    return [record for _, record in jsonl.read(path)]
