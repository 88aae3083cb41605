"""Sizes of meshes over eight virtual devices."""

import jax
import pytest

from acim_jax.sharding import mesh
from acim_jax.sharding.config import MeshConfig


@pytest.mark.parametrize(
    "config, devices, expected",
    [
        (MeshConfig(), 8, (1, 8, 1)),
        (MeshConfig(), 1, (1, 1, 1)),
        (MeshConfig(2, 2, 2), 8, (2, 2, 2)),
        (MeshConfig(-1, 2, 2), 8, (2, 2, 2)),
        (MeshConfig(1, 1, 4), 8, (1, 1, 4)),
        (MeshConfig(1, -1, 2), 6, (1, 3, 2)),
    ],
)
def test_sizes(config: MeshConfig, devices: int, expected: tuple[int, int, int]):
    made = mesh.make(config, jax.devices()[:devices])
    assert made.axis_names == ("data", "fsdp", "tensor")
    assert made.devices.shape == expected
    assert made.axis_types == (jax.sharding.AxisType.Auto,) * 3


@pytest.mark.parametrize(
    "config, devices",
    [
        (MeshConfig(2, 2, 4), 8),
        (MeshConfig(1, 3, 1), 8),
        (MeshConfig(3, -1, 1), 8),
        (MeshConfig(16, -1, 1), 8),
    ],
)
def test_sizes_that_do_not_fit(config: MeshConfig, devices: int):
    with pytest.raises(ValueError, match=f"there are {devices}"):
        mesh.make(config, jax.devices()[:devices])


@pytest.mark.parametrize("sizes", [(0, 1, 1), (-2, 1, 1), (-1, -1, 1)])
def test_sizes_that_mean_nothing(sizes: tuple[int, int, int]):
    with pytest.raises(ValueError, match="one of them may be -1"):
        MeshConfig(*sizes)


def test_layouts():
    assert mesh.layouts(MeshConfig(), jax.devices()[:1]) == (None, None)
    train, sample = mesh.layouts(MeshConfig(fsdp=4, tensor=2))
    assert train is not None and sample is not None
    assert train.shards("embed") == 4 and sample.shards("embed") == 1
    assert mesh.layouts_of(mesh.make(MeshConfig(fsdp=4, tensor=2))) == (train, sample)
