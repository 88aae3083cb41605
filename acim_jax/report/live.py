"""A run as it stands while it works, read from its folder alone."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from acim_jax.files import jsonl
from acim_jax.report import runs
from acim_jax.run import alarms, metrics
from acim_jax.run.alarms import Alarm
from acim_jax.run.metric_names import Metric

#: Iterations that the time of one is the mean over.
RECENT = 5


@dataclasses.dataclass(frozen=True)
class Live:
    """folder: of the run. iterations: planned. lines: of metrics.jsonl. rollouts: finished in the
    iteration at work, of how many (None: not known). seconds_left: of training, None before an
    iteration was timed. newest: episodes, newest first. finished: the last evaluation stands."""

    folder: Path
    method: str
    iterations: int
    lines: Sequence[Mapping[str, Any]]
    rollouts: tuple[int, int | None]
    seconds_left: float | None
    alarms: Sequence[Alarm]
    newest: Sequence[Mapping[str, Any]]
    finished: bool

    @property
    def iteration(self) -> int:
        """The newest that is done; -1 while the start is being made."""
        return int(self.lines[-1]["iteration"]) if self.lines else -1

    def values(self, metric: Metric) -> list[float]:
        """What is known of a metric, in order."""
        found = (line.get(metric) for line in self.lines)
        return [float(value) for value in found if value is not None]


def find(folder: Path) -> Path:
    """The run at `folder`, or of an experiment the run whose files are newest.

    FileNotFoundError where there is none.
    """
    if (folder / "manifest.json").is_file():
        return folder
    found = [path.parent for path in folder.glob("*/manifest.json")]
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no run: give the folder that `acim train` or `acim experiment` "
            "writes, after it has begun."
        )
    return max(found, key=lambda run: max(path.stat().st_mtime for path in run.iterdir()))


def read(folder: Path, episodes: int) -> Live:
    """The run at `folder`, with its newest `episodes` episodes. ValueError for damaged files."""
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    path = folder / "metrics.jsonl"
    lines = metrics.read(path) if path.is_file() else []
    iterations = int(config["run"]["iterations"])
    times = [line[Metric.TIME_TOTAL] for line in lines if line.get(Metric.TIME_TOTAL) is not None]
    done = int(lines[-1]["iteration"]) if lines else 0
    recent = times[-RECENT:]
    return Live(
        folder,
        config["method"],
        iterations,
        lines,
        (_finished_rollouts(folder, done + 1), _per_iteration(lines)),
        sum(recent) / len(recent) * (iterations - done) if recent else None,
        alarms.of(lines),
        _newest(folder, episodes),
        (folder / "evaluation" / "final" / "results.json").is_file(),
    )


def _finished_rollouts(folder: Path, iteration: int) -> int:
    """Those of the iteration at work, over all processes; a file's head is no rollout."""
    count = 0
    for path in folder.glob(f"rollouts/iteration_{iteration:04d}.*.jsonl"):
        with path.open("rb") as lines:
            count += max(sum(line.endswith(b"\n") for line in lines) - 1, 0)
    return count


def _per_iteration(lines: Sequence[Mapping[str, Any]]) -> int | None:
    made = [line[Metric.ROLLOUTS] for line in lines if line.get(Metric.ROLLOUTS)]
    return int(made[-1]) - int(made[-2]) if len(made) > 1 else int(made[0]) if made else None


def _newest(folder: Path, count: int) -> list[Mapping[str, Any]]:
    files = runs.iteration_files(folder / "episodes")
    if not files or not count:
        return []
    records = [record for _, record in jsonl.read(files[-1][1])]
    step = max(len(records) // count, 1)
    return list(reversed(records[::step][:count]))
