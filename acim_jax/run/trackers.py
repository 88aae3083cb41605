"""Where a run's numbers are mirrored to, beside `metrics.jsonl`: TensorBoard, Weights & Biases,
trackio. The latter two are installed by who uses them, and configured as they document it
(WANDB_MODE, WANDB_PROJECT, TRACKIO_DIR and so on)."""

import importlib
import importlib.util
import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from acim_jax.config.run import TrackerName
from acim_jax.files import atomic

log = logging.getLogger(__name__)

#: Of the runs at W&B and trackio, unless their own variables say otherwise.
PROJECT = "acim_jax"
#: Names the run at trackers, whatever becomes of its folder.
RUN_ID = ".run-id"


@runtime_checkable
class Tracker(Protocol):
    def write(self, step: int, numbers: Mapping[str, int | float]) -> None: ...
    def close(self) -> None: ...


def check(names: Sequence[TrackerName]) -> None:
    """ValueError for a tracker whose package is not installed."""
    for name in names:
        if name != "tensorboard" and importlib.util.find_spec(name) is None:
            raise ValueError(
                f"run.trackers: {name} is not installed; `pip install {name}`, or leave it out."
            )


def opened(
    names: Sequence[TrackerName], folder: Path, name: str, config: Mapping[str, Any], *, first: int
) -> list[Tracker]:
    """The trackers of a run that goes on with iteration `first`. name, config: shown there."""
    services = {"wandb": _wandb, "trackio": _trackio}
    opened: list[Tracker] = []
    for kind in names:
        if kind == "tensorboard":
            opened.append(_tensorboard(folder, first))
        else:
            module: Any = importlib.import_module(kind)
            opened.append(_Service(module, services[kind](module, folder, name, config)))
    return opened


def _tensorboard(folder: Path, first: int) -> Tracker:
    # Its import takes a second that runs without it need not pay.
    from acim_jax.run import event_file

    return event_file.EventFile(folder, first=first)


class _Service:
    """A tracker of other people: what it raises is told once, and never ends a run."""

    def __init__(self, module: Any, start: Callable[[], Any]) -> None:
        self._module, self._run = module, None
        self._guarded(lambda: setattr(self, "_run", start()))

    def write(self, step: int, numbers: Mapping[str, int | float]) -> None:
        if self._run is not None:
            self._guarded(lambda: self._module.log(dict(numbers), step=step))

    def close(self) -> None:
        if self._run is not None:
            self._guarded(self._module.finish)

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # of a network or a service: the numbers stand in the run folder
            log.warning("%s is left out from here on: %s", self._module.__name__, error)
            self._run = None


def _wandb(wandb: Any, folder: Path, name: str, config: Mapping[str, Any]) -> Callable[[], Any]:
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    return lambda: wandb.init(
        project=project,
        dir=str(folder),
        id=_run_id(folder),
        name=name or folder.name,
        config=dict(config),
        resume="allow",
    )


def _trackio(trackio: Any, folder: Path, name: str, config: Mapping[str, Any]) -> Callable[[], Any]:
    named = f"{name or folder.name}-{_run_id(folder)}"
    return lambda: trackio.init(project=PROJECT, name=named, config=dict(config), resume="allow")


def _run_id(folder: Path) -> str:
    path = folder / RUN_ID
    if not path.is_file():
        atomic.write_text(path, uuid.uuid4().hex[:12] + "\n")
    return path.read_text(encoding="ascii").strip()
