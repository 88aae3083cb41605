"""The one door between host arrays and devices, and between the training and sampling layouts."""

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from acim_jax.sharding import axes


def path_name(path: tuple[Any, ...]) -> str:
    """`blocks/attention/w_q` for a key path of a parameter tree."""
    return "/".join(str(entry.key) for entry in path)


def param_shardings(params: Any, layout: axes.Layout) -> Any:
    """A tree of shardings for a parameter tree (arrays or shapes).

    Raises ValueError where an axis does not divide by its share of the mesh, naming the leaf.
    """

    stated = axes.PARAM_AXES | axes.ADAPTER_AXES

    def leaf(path: tuple[Any, ...], x: Any) -> NamedSharding:
        name = path_name(path)
        if name not in stated:
            raise ValueError(f"No logical axes are stated for the parameter {name!r}.")
        sharding = layout.sharding(stated[name])
        try:
            sharding.shard_shape(x.shape)
        except ValueError as error:
            raise ValueError(
                f"Parameter {name} of shape {x.shape} ({stated[name]}) cannot be split "
                f"as {sharding.spec} on the mesh {dict(layout.mesh.shape)}: {error}"
            ) from error
        return sharding

    return jax.tree_util.tree_map_with_path(leaf, params)


def replicated(layout: axes.Layout) -> NamedSharding:
    return NamedSharding(layout.mesh, PartitionSpec())


def device_of(params: Any) -> jax.sharding.Sharding:
    """The sharding of unsharded parameters: the one device that all of them are on."""
    return jax.tree.leaves(params)[0].sharding


def to_layout(params: Any, layout: axes.Layout) -> Any:
    """Parameters in a layout's sharding; device to device, no host copy."""
    return jax.device_put(params, param_shardings(params, layout))


def put(tree: Any, layout: axes.Layout, logical_axes: tuple[str, ...] = ()) -> Any:
    """Host arrays onto the mesh: leading axes as named, the rest whole on every device."""
    sharding = layout.sharding(logical_axes)
    return jax.tree.map(lambda x: jax.device_put(np.asarray(x), sharding), tree)
