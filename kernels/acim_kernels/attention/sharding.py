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
    """ "cpu", "gpu" or "tpu": of the mesh, whose devices may exist for a compiler only."""
    if sharding is None:
        return jax.default_backend()
    return sharding.mesh.devices.flat[0].platform


def limit(sharding: Sharding | None) -> str | None:
    """Why a kernel cannot run shard by shard; None if it can."""
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
    """The kernel on every shard alone: rows and heads are independent of one another."""
    if sharding is None:
        return kernel
    return jax.shard_map(
        kernel,
        mesh=sharding.mesh,
        in_specs=(sharding.queries, sharding.keys, sharding.keys),
        out_specs=sharding.queries,
        check_vma=False,
    )
