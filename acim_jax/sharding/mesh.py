"""The device mesh of a run."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh

from acim_jax.sharding import axes
from acim_jax.sharding.config import MeshConfig

AXES = ("data", "fsdp", "tensor")
_AXIS_TYPES = (AxisType.Auto,) * len(AXES)


def sizes(config: MeshConfig, count: int) -> tuple[int, int, int]:
    """The axes' sizes over `count` devices; ValueError for sizes that do not fit."""
    stated = [config.data, config.fsdp, config.tensor]
    fixed = math.prod(max(size, 1) for size in stated)
    if -1 in stated:
        stated[stated.index(-1)] = max(count // fixed, 1)
    total = math.prod(stated)
    if total > count or (count % total):
        raise ValueError(
            f"A mesh of data={stated[0]} × fsdp={stated[1]} × tensor={stated[2]} needs {total} "
            f"devices or a divisor of them; there are {count}."
        )
    return stated[0], stated[1], stated[2]


def make(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over `devices` (all of this job's by default); refuses sizes that do not fit."""
    devices = jax.devices() if devices is None else devices
    shape = sizes(config, len(devices))
    return jax.make_mesh(shape, AXES, axis_types=_AXIS_TYPES, devices=devices[: math.prod(shape)])


def local(mesh: Mesh) -> Mesh:
    """The part of a mesh that this process samples on: a replica per whole `tensor` group it has.

    ValueError, on all processes alike, where a group spans processes or a process has none.
    """
    groups = mesh.devices.reshape(-1, mesh.shape["tensor"])
    owners = np.vectorize(lambda device: device.process_index, otypes=[int])(groups)
    per_process = [int((owners == p).sum()) for p in range(jax.process_count())]
    if (owners != owners[:, :1]).any():
        raise ValueError(
            f"mesh.tensor is {mesh.shape['tensor']}, but a process has {min(per_process)} devices: "
            "each process samples by itself, so this axis must not go across processes; make "
            "mesh.tensor a divisor of that, and split over mesh.fsdp instead."
        )
    if 0 in per_process:
        raise ValueError(
            f"A mesh of {mesh.size} devices leaves process {per_process.index(0)} of "
            f"{len(per_process)} without any; make mesh.data or mesh.fsdp larger."
        )
    if len(per_process) == 1:
        return mesh
    own = groups[owners[:, 0] == jax.process_index()]
    return Mesh(own[:, None], AXES, axis_types=_AXIS_TYPES)


def abstract(config: MeshConfig, count: int) -> AbstractMesh:
    """A mesh over `count` devices that need not exist: enough for shapes and shardings."""
    return AbstractMesh(sizes(config, count), AXES, axis_types=_AXIS_TYPES)


def layouts(
    config: MeshConfig, devices: Sequence[Any] | None = None
) -> tuple[axes.Layout | None, axes.Layout | None]:
    """Training and sampling layouts over `devices` (all of this job's by default); None on a
    single device, where they say nothing. Each process samples on its own devices.

    ValueError for a mesh that does not fit the devices, or the processes (`local`).
    """
    made = make(config, devices)
    own = local(made)
    if made.size == 1:
        return None, None
    return axes.Layout.of(made, axes.TRAIN_RULES), axes.Layout.of(own, axes.SAMPLE_RULES)


def layouts_of(made: Mesh | AbstractMesh) -> tuple[axes.Layout, axes.Layout]:
    """Training and sampling layouts of one mesh, which may be abstract."""
    return axes.Layout.of(made, axes.TRAIN_RULES), axes.Layout.of(made, axes.SAMPLE_RULES)
