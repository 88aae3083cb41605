"""Starting one run, and going on with one, from the input's check to the last evaluation."""

import contextlib
import logging
import sys
from pathlib import Path

import jax

from acim_jax import bad_input
from acim_jax.checkpoint import store
from acim_jax.config import run as config
from acim_jax.config.run import RunConfig
from acim_jax.environment import executor
from acim_jax.run import config_changes, dry_run, preparation, training
from acim_jax.run import folder as run_folder
from acim_jax.run import manifest as manifests
from acim_jax.run.open_run import Display
from acim_jax.run.preparation import Prepared

log = logging.getLogger(__name__)


def start(prepared: Prepared, out: Path, display: Display) -> None:
    """One run in a new folder. Raises `BadInput` if `out` cannot be used, or if
    the devices cannot hold the run."""
    with bad_input.reading():
        run_folder.check_usable(out)
        log.info(dry_run.check(prepared))
        manifest = manifests.collect(
            data_files=prepared.data_files,
            devices=device_names(),
            command=sys.argv,
            executor=executor.probe(prepared.config.executor),
            config=config.plain(prepared.config),
        )
    with run_folder.create(out, config.dump(prepared.config), manifest) as folder:
        training.run(prepared, folder, display, resume=False)


def resume(path: Path, display: Display) -> None:
    """Goes on with the run at `path` after its newest checkpoint.

    Raises `BadInput` if the folder holds no run or is in use, if its config was edited to one with
    which the run cannot go on, or if the devices cannot hold it.
    """
    with contextlib.ExitStack() as stack:
        with bad_input.reading():
            begun = run_folder.read_manifest(path).config
            chosen = config.load(file := path / run_folder.CONFIG)
            plain = config.plain(chosen)
            # Before the model and the data are read, which may be those of an edit.
            config_changes.check(begun, plain, file)
            prepared = preparation.prepare(chosen)
            log.info(dry_run.check(prepared))
            protection = executor.probe(prepared.config.executor)
            opened = run_folder.resume(
                path,
                devices=device_names(),
                command=sys.argv,
                executor=protection,
                config=plain,
            )
            folder = stack.enter_context(opened)
        for change in folder.changes:
            log.warning("%s: %s; numbers may differ from here on", path, change)
        training.run(prepared, folder, display, resume=True)


def device_names() -> list[str]:
    return [f"{device.platform}:{device.device_kind}" for device in jax.devices()]


def is_finished(path: Path, run: RunConfig) -> bool:
    """Whether the last iteration is checkpointed and the final evaluation made."""
    done = store.latest(path / "checkpoints") == run.run.iterations
    evaluated = (path / "evaluation" / "final" / "results.json").is_file()
    return done and (evaluated or run.evaluation.final_problems == 0)
