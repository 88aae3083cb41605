"""Sizes of meshes over eight virtual devices."""

import jax
import pytest

from acim_jax.sharding import mesh


@pytest.mark.parametrize(
    "config, devices, expected",
    [
        (mesh.MeshConfig(), 8, (1, 8, 1)),
        (mesh.MeshConfig(), 1, (1, 1, 1)),
        (mesh.MeshConfig(2, 2, 2), 8, (2, 2, 2)),
        (mesh.MeshConfig(-1, 2, 2), 8, (2, 2, 2)),
        (mesh.MeshConfig(1, 1, 4), 8, (1, 1, 4)),
        (mesh.MeshConfig(1, -1, 2), 6, (1, 3, 2)),
    ],
)
def test_sizes(config: mesh.MeshConfig, devices: int, expected: tuple[int, int, int]):
    made = mesh.make(config, jax.devices()[:devices])
    assert made.axis_names == ("data", "fsdp", "tensor")
    assert made.devices.shape == expected
    assert made.axis_types == (jax.sharding.AxisType.Auto,) * 3


@pytest.mark.parametrize(
    "config, devices",
    [
        (mesh.MeshConfig(2, 2, 4), 8),
        (mesh.MeshConfig(1, 3, 1), 8),
        (mesh.MeshConfig(3, -1, 1), 8),
        (mesh.MeshConfig(16, -1, 1), 8),
    ],
)
def test_sizes_that_do_not_fit(config: mesh.MeshConfig, devices: int):
    with pytest.raises(ValueError, match=f"there are {devices}"):
        mesh.make(config, jax.devices()[:devices])


@pytest.mark.parametrize("sizes", [(0, 1, 1), (-2, 1, 1), (-1, -1, 1)])
def test_sizes_that_mean_nothing(sizes: tuple[int, int, int]):
    with pytest.raises(ValueError, match="one of them may be -1"):
        mesh.MeshConfig(*sizes)
