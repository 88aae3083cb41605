"""The one door between host arrays and devices, and between the training and sampling layouts."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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


def shapes(tree: Any, shardings: Any) -> Any:
    """Shapes and dtypes of `tree`, with one sharding for all leaves or a tree of them."""
    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings
    )


def param_shapes(params: Any, layout: axes.Layout | None) -> Any:
    """Shapes and dtypes of parameters, with the layout's shardings where there is one."""
    return params if layout is None else shapes(params, param_shardings(params, layout))


def to_layout(params: Any, layout: axes.Layout | None) -> Any:
    """Parameters of one device, or on the host, in the layout's sharding; without a layout on the
    first device."""
    where = jax.devices()[0] if layout is None else param_shardings(params, layout)
    return jax.device_put(params, where)


def to_sampling(params: Any, train: axes.Layout, sample: axes.Layout) -> Any:
    """Parameters from the training layout into the sampling layout, from device to device.

    `sample` is over the training mesh, or over this process's part of it (`mesh.local`); then all
    processes call this together, and get arrays on their own devices. Parameters whose sharding
    does not change are not copied.
    """
    leaves, tree = jax.tree.flatten(params)
    over_all = axes.Layout(train.mesh, sample.rules)
    wanted = jax.tree.leaves(param_shardings(params, over_all))
    is_there = [x.sharding.is_equivalent_to(s, x.ndim) for x, s in zip(leaves, wanted, strict=True)]
    moved = iter(
        _reshard(
            [x for x, there in zip(leaves, is_there, strict=True) if not there],
            [s for s, there in zip(wanted, is_there, strict=True) if not there],
        )
    )
    leaves = [x if there else next(moved) for x, there in zip(leaves, is_there, strict=True)]
    if sample.mesh != train.mesh:
        assert isinstance(sample.mesh, Mesh)  # a process has devices
        leaves = [_own_part(x, sample.mesh) for x in leaves]
    return jax.tree.unflatten(tree, leaves)


def _reshard(arrays: Sequence[jax.Array], shardings: Sequence[NamedSharding]) -> list[jax.Array]:
    """By a compiled function: `jax.device_put` moves an array that is cut in another way through
    the host, and does not reach the devices of other processes."""
    return list(jax.jit(_identity, out_shardings=tuple(shardings))(tuple(arrays)))


def _identity(arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return arrays


def _own_part(x: jax.Array, own: Mesh) -> jax.Array:
    """An array whose parts this process holds all of, as an array on this process's devices."""
    assert isinstance(x.sharding, NamedSharding)
    shards = [shard.data for shard in x.addressable_shards]
    sharding = NamedSharding(own, x.sharding.spec)
    return jax.make_array_from_single_device_arrays(x.shape, sharding, shards)


def batch(rows: Any, layout: axes.Layout | None) -> Any:
    """Host arrays whose first axis is rows onto the devices, rows over the batch axes."""
    if layout is None:
        return jax.tree.map(jax.device_put, rows)
    sharding = layout.sharding(("batch",))
    return jax.tree.map(lambda x: jax.device_put(x, sharding), rows)


def put(tree: Any, layout: axes.Layout, logical_axes: tuple[str, ...] = ()) -> Any:
    """Host arrays onto the mesh: leading axes as named, the rest whole on every device."""
    sharding = layout.sharding(logical_axes)
    return jax.tree.map(lambda x: jax.device_put(np.asarray(x), sharding), tree)
