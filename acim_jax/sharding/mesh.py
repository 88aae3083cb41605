"""The device mesh of a run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

AXES = ("data", "fsdp", "tensor")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes. One of them may be -1: whatever devices are left.

    data: replicas of the parameters. fsdp: shards of the parameters, and of the batch. tensor:
    shards of heads, feed-forward (or experts) and vocabulary.
    """

    data: int = 1
    fsdp: int = -1
    tensor: int = 1

    def __post_init__(self) -> None:
        sizes = (self.data, self.fsdp, self.tensor)
        if any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1:
            raise ValueError(
                f"Mesh axes must be positive, one of them may be -1; got data={self.data}, "
                f"fsdp={self.fsdp}, tensor={self.tensor}."
            )


def make(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over `devices` (all of this job's by default); refuses sizes that do not fit."""
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.tensor]
    fixed = 1
    for size in sizes:
        fixed *= max(size, 1)
    if -1 in sizes:
        sizes[sizes.index(-1)] = max(len(devices) // fixed, 1)
    total = sizes[0] * sizes[1] * sizes[2]
    if total > len(devices) or (len(devices) % total):
        raise ValueError(
            f"A mesh of data={sizes[0]} × fsdp={sizes[1]} × tensor={sizes[2]} needs {total} "
            f"devices or a divisor of them; there are {len(devices)}."
        )
    return jax.make_mesh(
        tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices[:total]
    )
