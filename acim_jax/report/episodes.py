"""Episodes for the report: a fixed-size choice to read, and per-query code rates from all of them.

Of each outcome group (run, iteration, guide, decision, right or wrong) the episodes are taken in
file order, one from every group in turn, until the page is full: rare outcomes stay visible, and
the choice is the same every time. It is not a sample that rates could be read from.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from acim_jax.files import jsonl
from acim_jax.markup import outputs
from acim_jax.report import data, readers
from acim_jax.report.readers import mapping, number

#: Longer texts are cut in the middle, longer rows of log-probs at the end.
MAX_CHARS = 8_000
MAX_LOGPROBS = 1_024
#: A rate over fewer native rollouts of a problem than this is no rate.
MIN_NATIVE = 2
#: Above this reward an episode counts as right (code problems earn shares of their tests).
RIGHT = 0.5

Row = Mapping[str, object]
Group = tuple[str, int, int, str, str, bool]
#: Stands after every training iteration in the order of groups.
_FINAL = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class RunEpisodes:
    """The episodes of one run: how many, the first of each group, and code rates per query.

    native_rates: iteration → for each problem with ≥ MIN_NATIVE native rollouts, the share of them
    that ran code.
    """

    total: int
    groups: Mapping[Group, Sequence[Row]]
    native_rates: Mapping[int, tuple[float, ...]]


def read(run: data.Run, limit: int) -> RunEpisodes:
    """Reads every episode of a run once; keeps at most `limit` of each group."""
    total = 0
    groups: dict[Group, list[Row]] = {}
    decisions: dict[int, dict[str, list[bool]]] = {}
    for iteration, path, line, row in _rows(run.folder):
        where = f"{path}:{line}"
        total += 1
        decision, guide = _field(row, "decision", where), _field(row, "guide", where)
        reward = number(row.get("reward"))
        if reward is None:
            raise ValueError(f"{where}: 'reward' must be a number, got {row.get('reward')!r}.")
        if guide == "native" and iteration != _FINAL:
            problem = _field(row, "problem_id", where)
            seen = decisions.setdefault(iteration, {}).setdefault(problem, [])
            seen.append(decision == "code")
        group = groups.setdefault(
            (run.arm, run.seed, iteration, guide, decision, reward > RIGHT), []
        )
        if len(group) < limit:
            group.append(_page_row(run, iteration, row, reward, where))
    rates = {
        iteration: tuple(sum(d) / len(d) for d in problems.values() if len(d) >= MIN_NATIVE)
        for iteration, problems in sorted(decisions.items())
    }
    return RunEpisodes(total, groups, rates)


def choose(episodes: Iterable[RunEpisodes], limit: int) -> list[Row]:
    """At most `limit` episodes, one of every outcome group in turn (module docstring)."""
    groups = {key: rows for run in episodes for key, rows in run.groups.items()}
    queues = [(key, groups[key]) for key in sorted(groups)]
    chosen: list[tuple[Group, int]] = []
    depth = 0
    while len(chosen) < limit and any(len(rows) > depth for _, rows in queues):
        chosen += [(key, depth) for key, rows in queues if len(rows) > depth]
        depth += 1
    return [groups[key][index] for key, index in sorted(chosen[:limit])]


def _rows(folder: Path) -> Iterator[tuple[int, Path, int, dict[str, object]]]:
    """(iteration, file, line, row) of the training rollouts, then of the final evaluation."""
    files = readers.iteration_files(folder / "episodes")
    final = folder / "evaluation" / "final" / "episodes.jsonl"
    if final.is_file():
        files.append((_FINAL, final))
    for iteration, path in files:
        for line, row in jsonl.read(path):
            yield iteration, path, line, row


def _field(row: Row, key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key!r} must be a string, got {value!r}.")
    return value


def _page_row(
    run: data.Run, iteration: int, row: Row, reward: float, where: str
) -> dict[str, object]:
    """What the page shows of an episode; short keys are spelled out in templates/report.js."""
    problem = _field(row, "problem_id", where)
    final = run.evaluations.get("final")
    evaluated_stratum = final.problem_strata.get(problem, "all/-") if final else "all/-"
    segments, executions = row.get("segments"), row.get("executions")
    if not isinstance(segments, list) or not isinstance(executions, list):
        raise ValueError(f"{where}: 'segments' and 'executions' must be lists.")
    return {
        "arm": run.arm,
        "seed": run.seed,
        "iteration": "final evaluation" if iteration == _FINAL else str(iteration),
        "problem": problem,
        "stratum": str(row.get("stratum") or evaluated_stratum),
        "guide": _field(row, "guide", where),
        "decision": _field(row, "decision", where),
        "reward": reward,
        "stop": str(row.get("stop")),
        "question": _cut(row.get("question")),
        "gold": _cut(row.get("gold")),
        "answer": _cut(row.get("answer")),
        "advantage": _rounded(row.get("advantage")),
        "segments": [_segment(mapping(segment)) for segment in segments],
        "executions": [_execution(mapping(execution)) for execution in executions],
    }


def _segment(segment: Row) -> dict[str, object]:
    logprobs, ids = segment.get("logprobs"), segment.get("token_ids")
    shown: dict[str, object] = {
        "author": str(segment.get("author")).upper(),
        "text": _cut(segment.get("text")),
        "tokens": len(ids) if isinstance(ids, list) else None,
    }
    if isinstance(logprobs, list) and logprobs:
        shown["logprobs"] = [_rounded(value) for value in logprobs[:MAX_LOGPROBS]]
        shown["ids"] = ids[:MAX_LOGPROBS] if isinstance(ids, list) else []
    return shown


def _execution(execution: Row) -> dict[str, object]:
    return {
        "status": str(execution.get("status")),
        "code": _cut(execution.get("code")),
        "stdout": _cut(execution.get("stdout")),
        "stderr": _cut(execution.get("stderr")),
        "wall_s": _rounded(execution.get("wall_s")),
        "truncated": execution.get("truncated") is True,
    }


def _cut(text: object) -> str | None:
    return None if text is None else outputs.cut_middle(str(text), MAX_CHARS)


def _rounded(value: object) -> float | None:
    finite = number(value)
    return None if finite is None else round(finite, 3)
