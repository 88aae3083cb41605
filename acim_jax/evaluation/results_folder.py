"""The folder of one evaluation: its settings, the episodes so far, and a lock. No jax here.

    DIR/evaluation.json   what decides the numbers, and the seconds spent
    DIR/episodes.jsonl    finished batches, in the order of the plan
    DIR/results.json      written when all of the rest is there

Episodes are appended batch by batch. A batch that a crash cut is made again as a whole.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from acim_jax.files import atomic, failures, jsonl

SETTINGS = "evaluation.json"
EPISODES = "episodes.jsonl"
RESULTS = "results.json"
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class ResultsFolder:
    """An opened folder. kept: episodes of finished batches that stood there."""

    path: Path
    settings: Mapping[str, Any]
    kept: int

    def append(self, records: Iterable[Mapping[str, Any]], seconds: float) -> None:
        """Adds a finished batch and the seconds it took; on disk when this returns."""
        lines = "".join(map(jsonl.line, records))
        path = self.path / EPISODES
        with failures.naming(path), path.open("ab") as file:
            file.write(lines.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        _write_settings(self.path, self.settings, self.seconds() + seconds)

    def seconds(self) -> float:
        """Seconds spent on the batches, over all calls."""
        return float(_read_document(self.path)["seconds"])

    def episodes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The episodes with their places (`FILE:LINE`), read one at a time."""
        file = self.path / EPISODES
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield f"{file}:{number}", json.loads(line)


def write_json(path: Path, content: object) -> None:
    """Writes one file, whole or not at all. ValueError for floats that JSON lacks (nan, inf)."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    atomic.write_text(path, text + "\n")


def is_finished(path: Path, settings: Mapping[str, Any]) -> bool:
    """Whether `path` holds a whole evaluation with these settings (those missing may be any)."""
    is_whole = all((path / name).is_file() for name in (RESULTS, SETTINGS))
    return is_whole and not _changed(path, settings)


def check(path: Path, settings: Mapping[str, Any]) -> None:
    """Raises ValueError unless `path` is new, empty, or an evaluation with these settings.

    settings may lack some: those are not compared.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"--out {path} is a file; name a folder.")
    if (path / SETTINGS).is_file():
        if changed := _changed(path, settings):
            raise ValueError(
                f"{path} holds an evaluation with other settings: {'; '.join(changed[:4])}. Choose "
                "another --out, or use the same settings to go on with it."
            )
        return
    foreign = [p.name for p in path.iterdir() if p.name != _LOCK and p.suffix != atomic.SUFFIX]
    if foreign:
        raise ValueError(
            f"--out {path} is not empty and holds no evaluation ({', '.join(foreign[:3])}); "
            "choose another folder."
        )


@contextlib.contextmanager
def opened(
    path: Path, settings: Mapping[str, Any], batches: Sequence[int]
) -> Iterator[ResultsFolder]:
    """The folder, locked while the `with` lasts, cut back to whole batches.

    batches: episodes of each batch of the plan. Raises ValueError as `check` does, and where
    another process is at work.
    """
    check(path, settings)
    path.mkdir(parents=True, exist_ok=True)
    try:
        lock = filelock.FileLock(path / _LOCK, timeout=0).acquire()
    except filelock.Timeout as error:
        raise ValueError(f"{path} is in use by another process.") from error
    with lock:
        check(path, settings)  # another process may have been faster
        if not (path / SETTINGS).is_file():
            _write_settings(path, settings, 0.0)
        yield ResultsFolder(path, settings, _cut(path / EPISODES, batches))


def _cut(file: Path, batches: Sequence[int]) -> int:
    """Cuts off what belongs to no whole batch; the number of episodes that stay."""
    file.touch()
    ends = [0]
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                ends.append(ends[-1] + len(line))
    kept = 0
    for size in batches:
        if kept + size >= len(ends):
            break
        kept += size
    os.truncate(file, ends[kept])
    return kept


def _changed(path: Path, settings: Mapping[str, Any]) -> list[str]:
    return _differences(_read_document(path)["settings"], json.loads(json.dumps(settings)))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One phrase for each field of `new` that `old` has with another value."""
    found: list[str] = []
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict) and value.keys() == before.keys():
            found += _differences(before, value, f"{prefix}{name}.")
        elif before != value:
            found.append(f"{prefix}{name} was {before!r}, is {value!r}")
    return found


def _read_document(path: Path) -> dict[str, Any]:
    file = path / SETTINGS
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return {"settings": dict(document["settings"]), "seconds": float(document["seconds"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not the record of an evaluation: {error!r}.") from error


def _write_settings(path: Path, settings: Mapping[str, Any], seconds: float) -> None:
    write_json(path / SETTINGS, {"settings": settings, "seconds": seconds})
