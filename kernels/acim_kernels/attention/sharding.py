"""How the arrays of one attention call lie on a mesh, and a kernel run on each shard of them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array


class Sharding(NamedTuple):
    """queries: the partition of [B, T, N, H]; keys: that of [B, K, T, H], keys and values."""

    mesh: Mesh
    queries: PartitionSpec
    keys: PartitionSpec


def platform(sharding: Sharding | None) -> str:
    """ "cpu", "gpu" or "tpu": of the mesh, which may be one that only a compiler knows."""
    if sharding is None:
        return jax.default_backend()
    return sharding.mesh.devices.flat[0].platform


def limit(sharding: Sharding | None) -> str | None:
    """What keeps a kernel from running shard by shard; None: nothing."""
    if sharding is None:
        return None
    batch, time, heads, width = (*sharding.queries, None, None, None, None)[:4]
    if time is not None or width is not None:
        return "the sequence or the heads' width is split over devices"
    if tuple(sharding.keys) != (batch, heads, None, None):
        return "queries and keys are split differently"
    return None


def on_each_shard(
    kernel: Callable[[Array, Array, Array], Array], sharding: Sharding | None
) -> Callable[[Array, Array, Array], Array]:
    """Rows and heads know nothing of one another, so a shard needs nothing from the others."""
    if sharding is None:
        return kernel
    return jax.shard_map(
        kernel,
        mesh=sharding.mesh,
        in_specs=(sharding.queries, sharding.keys, sharding.keys),
        out_specs=sharding.queries,
        check_vma=False,
    )
