"""Episodes for the page: a fixed-size choice to read, and code rates by query from all of them.

Of each outcome (run, iteration, guide, decision, right or wrong) the episodes are taken in file
order, one of every outcome in turn, until the page is full: rare outcomes stay visible, and the
choice is the same every time. It is not a sample that rates could be read from.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic

from acim_jax.files import jsonl
from acim_jax.markup import outputs
from acim_jax.report import runs
from acim_jax.report.runs import Run

#: Longer texts are cut in the middle, longer lists at the end.
MAX_CHARS = 8_000
MAX_ITEMS = 1_024
#: A rate over fewer native rollouts of a problem than this is no rate.
MIN_NATIVE = 2
#: Above this reward an episode counts as right (code problems earn shares of their tests).
RIGHT = 0.5
#: Stands after every training iteration.
_FINAL = 1_000_000_000

Group = tuple[str, int, int, str, str, bool]


class Outcome(pydantic.BaseModel):
    """What every episode is counted by; the page shows the whole record."""

    problem_id: str
    guide: str
    decision: str
    reward: float
    segments: list[Any]
    executions: list[Any]


@dataclasses.dataclass(frozen=True)
class RunEpisodes:
    """The episodes of one run: how many, the first of each group, and code rates by query.

    native_rates: iteration → for each problem with ≥ MIN_NATIVE native rollouts, the share of them
    that ran code.
    """

    total: int
    groups: Mapping[Group, Sequence[Mapping[str, Any]]]
    native_rates: Mapping[int, Sequence[float]]


def read(run: Run, limit: int) -> RunEpisodes:
    """Reads every episode of a run once; keeps at most `limit` of each group."""
    total = 0
    groups: dict[Group, list[Mapping[str, Any]]] = {}
    native: dict[int, dict[str, list[bool]]] = {}
    evaluated = {problem.problem_id: problem.stratum for problem in run.problems["final"]}
    final = run.folder / "evaluation" / "final" / "episodes.jsonl"
    files = runs.iteration_files(run.folder / "episodes")
    for iteration, path in [*files, *([(_FINAL, final)] if final.is_file() else [])]:
        for line, record in jsonl.read(path):
            one = runs.check(Outcome, record, f"{path}:{line}")
            total += 1
            if one.guide == "native" and iteration != _FINAL:
                by_problem = native.setdefault(iteration, {})
                by_problem.setdefault(one.problem_id, []).append(one.decision == "code")
            key = (run.arm, run.seed, iteration, one.guide, one.decision, one.reward > RIGHT)
            group = groups.setdefault(key, [])
            if len(group) < limit:
                group.append({
                    **_cut(record),
                    "arm": run.arm,
                    "seed": run.seed,
                    "iteration": "final" if iteration == _FINAL else str(iteration),
                    "stratum": record.get("stratum") or evaluated.get(one.problem_id, "all/-"),
                    "right": one.reward > RIGHT,
                })  # fmt: skip
    rates = {
        iteration: [sum(d) / len(d) for d in problems.values() if len(d) >= MIN_NATIVE]
        for iteration, problems in sorted(native.items())
    }
    return RunEpisodes(total, groups, rates)


def _cut(value: Any) -> Any:
    """A JSON value with long texts and lists cut, numbers rounded, and tokens counted."""
    match value:
        case str():
            return outputs.cut_middle(value, MAX_CHARS)
        case float():
            return round(value, 3)
        case list():
            return [_cut(item) for item in value[:MAX_ITEMS]]
        case {"token_ids": list(ids), **rest}:
            return _cut(rest) | {"tokens": len(ids), "ids": ids[:MAX_ITEMS]}
        case dict():
            return {key: _cut(item) for key, item in value.items()}
        case _:
            return value


def choose(episodes: Iterable[RunEpisodes], limit: int) -> list[Mapping[str, Any]]:
    """At most `limit` episodes, one of every outcome in turn (module docstring)."""
    groups = {key: group for run in episodes for key, group in run.groups.items()}
    turns = sorted((turn, key) for key, group in groups.items() for turn in range(len(group)))
    chosen = sorted((key, turn) for turn, key in turns[:limit])
    return [groups[key][turn] for key, turn in chosen]
