"""What a run was made with: versions, source, data, hardware; and what has changed since."""

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from acim_jax.run import config_changes

#: Packages whose version can change a run's numbers.
PACKAGES = (
    "acim-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "transformers",
    "tokenizers", "sympy", "math-verify", "reasoning-gym",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a run was made with. data: sha256 per file of data and of the user's own code. devices:
    as jax names them.

    executor: what protects the machine from the programs (`Executor.capabilities`). config: the
    run's, as in its config.yaml; None in manifests that are older than this field.
    """

    started: str
    command: tuple[str, ...]
    python: str
    packages: Mapping[str, str]
    commit: str | None
    data: Mapping[str, str]
    hardware: Mapping[str, str | int]
    devices: tuple[str, ...]
    executor: Mapping[str, object]
    config: Mapping[str, object] | None = None


def collect(
    *,
    data_files: Sequence[Path],
    devices: Sequence[str],
    command: Sequence[str],
    executor: Mapping[str, object],
    config: Mapping[str, object] | None = None,
) -> Manifest:
    """The manifest of a run that starts now. Raises `FileNotFoundError` for a missing data file."""
    return Manifest(
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=tuple(command),
        python=platform.python_version(),
        packages=package_versions(),
        commit=git_commit(),
        data={str(path.resolve()): file_sha256(path) for path in data_files},
        hardware=hardware(),
        devices=tuple(devices),
        executor=executor,
        config=config,
    )


def differences(old: Manifest, new: Manifest) -> tuple[str, ...]:
    """One sentence for each thing that may make numbers differ from those of `old`."""
    found: list[str] = []
    if old.python != new.python:
        found.append(f"python was {old.python}, is {new.python}")
    if old.commit != new.commit:
        found.append(f"the source was at commit {old.commit}, is at {new.commit}")
    for name in sorted(old.packages.keys() | new.packages.keys()):
        before, after = old.packages.get(name), new.packages.get(name)
        if before != after:
            found.append(f"package {name} was {before or 'absent'}, is {after or 'absent'}")
    for name, digest in old.data.items():
        if name not in new.data:
            found.append(f"file {name} is gone")
        elif new.data[name] != digest:
            found.append(f"file {name} changed (sha256 {digest[:8]} to {new.data[name][:8]})")
    if old.devices != new.devices:
        found.append(f"devices were {', '.join(old.devices)}, are {', '.join(new.devices)}")
    before, after = (one.executor.get("protection") for one in (old, new))
    if before != after:
        found.append(f"the executor's protection was {before}, is {after}")
    found += config_changes.sentences(old.config, new.config)
    return tuple(found)


def package_versions() -> dict[str, str]:
    """Installed versions of `PACKAGES`; absent ones are left out."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def git_commit() -> str | None:
    """The commit of this package's source, `+changes` if edited; None if it is not a checkout."""
    source = Path(__file__).resolve()

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(source.parent), *arguments],
                capture_output=True, text=True, timeout=10, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy may lie inside somebody else's repository, which does not track it.
    if git("ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "-uno") else commit


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hardware() -> dict[str, str | int]:
    """Host, processor, usable cores and bytes of memory."""
    # macOS has no affinity: a process may run on all cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": cores or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
