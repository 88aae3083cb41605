"""A run's folder: its names, its lock, and the manifest that says what made it. No jax here.

A folder holds a run iff its `manifest.json` stands, which is written last; one without it was
left by a crash during set-up, holds nothing worth keeping, and may be used anew.
"""

import contextlib
import dataclasses
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from acim_jax.files import atomic, places
from acim_jax.run import manifest as manifests
from acim_jax.run.manifest import Manifest

SUBFOLDERS = ("episodes", "values", "rollouts", "checkpoints", "evaluation")
LOCK = ".lock"
OWNER = ".lock-owner.json"
CONFIG = "config.yaml"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """An opened run folder. changes: what differs from the run's manifest, on resume."""

    path: Path
    changes: tuple[str, ...] = ()

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def episodes(self, iteration: int) -> Path:
        return self.path / "episodes" / f"iteration_{iteration:04d}.jsonl"

    def values(self, iteration: int) -> Path:
        return self.path / "values" / f"iteration_{iteration:04d}.jsonl"

    def rollouts(self, iteration: int, process: int) -> Path:
        """The rollouts that a process has finished of an iteration (`rollout.journal`)."""
        return self.path / "rollouts" / f"iteration_{iteration:04d}.{process}.jsonl"

    def all_rollouts(self, iteration: int) -> list[Path]:
        """Those of all processes."""
        return sorted(self.path.glob(f"rollouts/iteration_{iteration:04d}.*.jsonl"))

    def forget_rollouts(self, last: int, process: int) -> None:
        """Deletes what a process has of the iterations up to `last`."""
        for path in self.path.glob(f"rollouts/iteration_*.{process}.jsonl"):
            if int(path.name.split(".")[0].removeprefix("iteration_")) <= last:
                path.unlink()

    def evaluation(self, when: str) -> Path:
        """The folder of an evaluation; `when` is `start` or `final`."""
        return self.path / "evaluation" / when


@contextlib.contextmanager
def create(path: Path, config_text: str, manifest: Manifest) -> Iterator[RunFolder]:
    """A new run folder, locked while the `with` lasts.

    Raises `ValueError` if `path` holds a run, is in use, or is a folder of something else.
    """
    check_usable(path)
    path.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        check_usable(path)  # another process may have been faster
        atomic.write_text(path / CONFIG, config_text)
        _write_manifest(path, {**dataclasses.asdict(manifest), "resumed": []})
        yield RunFolder(path)


@contextlib.contextmanager
def resume(
    path: Path,
    *,
    devices: Sequence[str],
    command: Sequence[str],
    executor: Mapping[str, object],
    config: Mapping[str, object] | None = None,
) -> Iterator[RunFolder]:
    """The run folder at `path`, locked while the `with` lasts, for going on with its run.

    What changed since it started (versions, files, hardware, its config) stands in `changes`
    and is added to the manifest. Raises `FileNotFoundError` without a folder, `ValueError` if it
    holds no complete run or is in use.
    """
    old = read_manifest(path)
    with _locked(path):
        now = manifests.collect(
            data_files=[Path(name) for name in old.data if Path(name).exists()],
            devices=devices,
            command=command,
            executor=executor,
            config=config,
        )
        changes = manifests.differences(old, now)
        document = _read_document(path)
        document["resumed"].append({**dataclasses.asdict(now), "changes": list(changes)})
        _write_manifest(path, document)
        yield RunFolder(path, changes)


def check_usable(path: Path) -> None:
    """Raises `ValueError` unless a new run may be made at `path`."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; --out needs a folder's name.")
    if is_complete(path):
        raise ValueError(
            f"{path} already holds a run: --resume {path} goes on with it; else choose another "
            "--out."
        )
    places.check_folder(path, "--out")
    if not path.is_dir():
        return
    setup = {CONFIG, LOCK, OWNER}
    foreign = sorted(
        p.name for p in path.iterdir() if p.name not in setup and p.suffix != atomic.SUFFIX
    )
    if foreign:
        raise ValueError(
            f"{path} is not empty and not a run folder (it holds {', '.join(foreign[:3])}); "
            "choose another --out."
        )


def is_complete(path: Path) -> bool:
    """Whether `path` holds a run; what a crash during set-up leaves does not count."""
    return (path / "manifest.json").is_file() and (path / CONFIG).is_file()


def read_manifest(path: Path) -> Manifest:
    """The manifest of the run folder `path`. Raises `FileNotFoundError` or `ValueError`."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such run folder")
    if not is_complete(path):
        raise ValueError(
            f"{path} holds no run: manifest.json or config.yaml is missing, so its set-up never "
            "finished. Start it again with --out."
        )
    fields = {field.name for field in dataclasses.fields(Manifest)}
    document = {"config": None, **_read_document(path)}
    if missing := sorted(fields - document.keys()):
        raise ValueError(f"{path / 'manifest.json'}: lacks {', '.join(missing)}.")
    values: dict[str, Any] = {name: document[name] for name in fields}
    values["command"], values["devices"] = tuple(values["command"]), tuple(values["devices"])
    return Manifest(**values)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    owner = path / OWNER
    lock = filelock.FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise ValueError(f"{path} is in use by {_owner(owner)}.") from error
    try:
        atomic.write_text(owner, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def _read_document(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}:{error.lineno}: not valid JSON: {error.msg}") from error


def _write_manifest(path: Path, document: Mapping[str, Any]) -> None:
    """The manifest, which makes `path` a run's folder, and then the folders in it."""
    atomic.write_text(path / "manifest.json", json.dumps(document, indent=2) + "\n")
    for name in SUBFOLDERS:
        (path / name).mkdir(exist_ok=True)
