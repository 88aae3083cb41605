"""What the arms of an experiment and their start reach, as means and standard errors over seeds.

The oracle is the selector that takes, in each stratum, the decision that is better on the
validation problems at the start (`selection.better_decisions`).
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acim_jax.evaluation import selection
from acim_jax.files import jsonl

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

Record = Mapping[str, Any]


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


@dataclasses.dataclass(frozen=True)
class Arm:
    """Where an arm ended. rollouts: of training, by seed."""

    label: str
    rollouts: tuple[int, ...]
    measures: Mapping[str, Spread]


@dataclasses.dataclass(frozen=True)
class Results:
    """start: accuracies of `STARTS`, as far as known. problems: evaluated by every run."""

    start: Mapping[str, float]
    arms: Mapping[str, Arm]
    problems: int | None
    code_prior: float | None = None


def start_measures(folder: Path) -> dict[str, Any]:
    """`start` of results.json, from the starting checkpoint's evaluation in `folder`."""
    problems = read_problems(folder / "problems.jsonl")
    better = selection.better_decisions(*forced(read_problems(folder / "validation.jsonl")))
    oracle = selection.oracle_rewards(*forced(problems), better)
    mean = {key: _mean([record[key] for record in problems]) for key in ("native", "text", "code")}
    return {
        "n": len(problems),
        "code_prior": _mean([record["policy_code"] for record in problems]),
        **{name: {"accuracy": value} for name, value in mean.items()},
        "oracle": {"accuracy": _mean(oracle)},
    }


def clear_strata(start: Path) -> dict[str, str]:
    """The better decision of the strata in which the two differ clearly at the start."""
    gaps = selection.gaps(*forced(read_problems(start / "validation.jsonl")))
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
    measures["stratum_selection_accuracy"] = _mean(hits) if hits else None
    return {key: measures.get(key) for key in (*MEASURES, "n")}


def spreads(per_seed: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    """Each of `MEASURES` over seeds."""
    return {key: Spread(tuple(measures.get(key) for measures in per_seed)) for key in MEASURES}


def arm_record(measures: Mapping[str, Spread]) -> dict[str, Any]:
    """The measures of one of results.json's `arms`."""
    return {
        key: {"per_seed": list(spread.per_seed), "mean": spread.mean, "stderr": spread.stderr}
        for key, spread in measures.items()
    }


def read(results: Record) -> Results:
    """The content of an experiment's results.json."""
    start = results["start"]
    arms = {
        name: Arm(
            entry["label"],
            (entry["rollouts"],),
            {key: Spread(tuple(entry[key]["per_seed"])) for key in MEASURES if key in entry},
        )
        for name, entry in results["arms"].items()
    }
    accuracies = {name: start[name]["accuracy"] for name in STARTS if name in start}
    return Results(accuracies, arms, start["n"], start["code_prior"])


def table(results: Results, measures: Sequence[str]) -> list[tuple[str, ...]]:
    """Lines of name, rollouts, seeds and `measures`: the start's policies, then the arms."""
    lines = []
    for name, title in STARTS.items():
        if name in results.start:
            known = {"accuracy": f"{results.start[name]:.3f}"}
            lines.append((title, MISSING, MISSING, *(known.get(key, MISSING) for key in measures)))
    for arm in results.arms.values():
        rollouts = " / ".join(f"{count:,}" for count in sorted(set(arm.rollouts))) or MISSING
        seeds = max((len(spread.per_seed) for spread in arm.measures.values()), default=0)
        figures = (str(arm.measures.get(key, MISSING)) for key in measures)
        lines.append((arm.label, rollouts, str(seeds), *figures))
    return lines


def read_problems(path: Path) -> list[Record]:
    """The records of a problems.jsonl or a validation.jsonl."""
    return [record for _, record in jsonl.read(path)]


def forced(records: Sequence[Record]) -> tuple[list[str], list[float], list[float]]:
    """Stratum and rewards of the forced text and code runs, by problem."""
    return ([r["stratum"] for r in records], [r["text"] for r in records],
            [r["code"] for r in records])  # fmt: skip


def _mean(values: Any) -> float:
    return float(np.mean(values))
