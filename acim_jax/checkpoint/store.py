"""Checkpoints of a run's state, by orbax (API version 1, wrapped here and nowhere else).

A step is written into a temporary folder and renamed when it is complete, so a killed save leaves
no step. The state is stored flat, by path (`params/embed/embedding`), with a table of shapes and
dtypes beside it: orbax itself casts silently and reports shape mismatches obscurely, so `restore`
compares that table first.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import v1 as ocp

_STATE = "state"


def save(
    folder: Path, step: int, state: Any, metadata: dict[str, Any], *, keep: int | None = None
) -> None:
    """Writes one step and returns when it is on disk; an existing step of that number is replaced.

    state: a pytree of arrays (typed PRNG keys as `jax.random.key_data`). metadata: JSON. keep: how
    many of the newest steps stay, None for all. `OSError` names the step where the disk is full.
    """
    flat = _flatten(state)
    leaves = {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in flat.items()}
    custom = {"metadata": json.loads(json.dumps(metadata)), "leaves": leaves}
    policies = ocp.training.preservation_policies
    policy: Any = policies.PreserveAll() if keep is None else policies.LatestN(keep)
    with (
        _naming(folder / str(step)),
        ocp.training.Checkpointer(
            str(folder.resolve()), preservation_policy=policy, cleanup_tmp_directories=True
        ) as checkpointer,
    ):
        checkpointer.save_checkpointables(
            step, {_STATE: flat}, custom_metadata=custom, force=True, overwrite=True
        )


def steps(folder: Path) -> tuple[int, ...]:
    """The complete steps of a folder, ascending; empty where there is no such folder."""
    if not folder.is_dir():
        return ()
    found = [path for path in folder.iterdir() if path.name.isdecimal()]
    return tuple(sorted(int(path.name) for path in found if ocp.is_orbax_checkpoint(str(path))))


def latest(folder: Path) -> int | None:
    """The newest complete step, None where there is none."""
    return max(steps(folder), default=None)


def restore(
    folder: Path, step: int, like: Any, *, partial: bool = False
) -> tuple[Any, dict[str, Any]]:
    """A step's state in the form and shardings of `like`, and its metadata.

    like: a pytree of `jax.ShapeDtypeStruct` (or arrays); a leaf without a sharding goes to the
    first device. partial: `like` may name only some of the leaves, e.g. only `{"params": …}`.
    FileNotFoundError for a missing step; ValueError names the first leaf that differs.
    """
    custom = _custom(folder, step)
    wanted = _flatten(like)
    _compare(custom["leaves"], wanted, folder / str(step), partial)
    default = SingleDeviceSharding(jax.devices()[0])
    abstract: dict[str, Any] = {path: ocp.PLACEHOLDER for path in custom["leaves"]}
    for path, leaf in wanted.items():
        sharding = getattr(leaf, "sharding", None) or default
        abstract[path] = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    loaded = ocp.load_checkpointables(str(folder.resolve() / str(step)), {_STATE: abstract})[_STATE]
    leaves = [loaded[path] for path in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), custom["metadata"]


@contextlib.contextmanager
def _naming(step: Path) -> Iterator[None]:
    """Turns what the system refuses to write into an `OSError` that names the step.

    tensorstore writes the system's error number into the text of a `ValueError`. orbax logs the
    same traceback in each of its threads before it raises it; that is held back.
    """
    logger = logging.getLogger("absl")

    def without_traceback(record: logging.LogRecord) -> bool:
        return record.exc_info is None

    logger.addFilter(without_traceback)
    try:
        yield
    except (OSError, ValueError) as error:
        found = re.search(r"os_error_code='(\d+)'", str(error))
        number = error.errno if isinstance(error, OSError) else found and int(found[1])
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(step)) from error
    finally:
        logger.removeFilter(without_traceback)


def _custom(folder: Path, step: int) -> dict[str, Any]:
    path = str(folder.resolve() / str(step))
    if step not in steps(folder):
        raise FileNotFoundError(
            f"{folder} holds no complete checkpoint of step {step}; it holds {steps(folder)}."
        )
    custom = ocp.checkpointables_metadata(path).custom_metadata
    if not isinstance(custom, dict) or not {"leaves", "metadata"} <= custom.keys():
        raise ValueError(f"{path} is an orbax checkpoint, but not one of a run.")
    return custom


def _flatten(tree: Any) -> dict[str, Any]:
    """Leaves by path; a path is the same for a dict's key and a NamedTuple's field."""
    flat: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
            raise TypeError(f"Leaf {name} of a state must be an array, got {type(leaf).__name__}.")
        flat[name] = leaf
    return flat


def _compare(found: dict[str, Any], wanted: dict[str, Any], where: Path, partial: bool) -> None:
    for path in sorted(wanted.keys() if partial else found.keys() | wanted.keys()):
        if path not in wanted:
            raise ValueError(f"{where} holds {path}, which the state to be restored has not.")
        if path not in found:
            raise ValueError(f"{where} does not hold {path}, which the state to be restored has.")
        shape, dtype = found[path]
        leaf = wanted[path]
        if (tuple(shape), dtype) != (tuple(leaf.shape), str(leaf.dtype)):
            raise ValueError(
                f"{where}: {path} is {dtype}{shape}, wanted {leaf.dtype}{list(leaf.shape)}; use "
                "the configuration that the checkpoint was made with."
            )
