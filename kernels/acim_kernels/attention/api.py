"""The one signature of attention, and the choice of its implementation."""

import functools
from typing import Literal

from jaxtyping import Array, Float, Int

from acim_kernels import fallback
from acim_kernels.attention import gpu, reference, tpu
from acim_kernels.attention import sharding as shardings
from acim_kernels.attention.sharding import Sharding

Implementation = Literal["auto", "reference", "tpu", "gpu"]


def attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BKTH: Float[Array, "B K T H"],
    v_BKTH: Float[Array, "B K T H"],
    *,
    window: int | Int[Array, ""] | None = None,
    sharding: Sharding | None = None,
    implementation: Implementation = "auto",
) -> Float[Array, "B T N H"]:
    """Each query attends to the keys at positions up to its own, at most `window` of them.

    Rows are left-aligned: query t and key t stand at position t, so padding behind a row's end is
    never seen. N must be a multiple of K (grouped queries). window counts the query's own position
    (None: all) and may be an array, so that the layers of one scan can differ. sharding: how the
    arrays lie on a mesh; needed on a mesh, since kernels are not split by the compiler.

    `auto` takes the kernel of the mesh's platform (without a mesh: of this process), and the
    reference where that kernel has a limit. A kernel asked for by name must cover the input
    (ValueError). All are differentiable.
    """
    kernels = {"tpu": tpu, "gpu": gpu}
    where = shardings.platform(sharding) if implementation == "auto" else implementation
    if where not in kernels:
        return reference.attention(q_BTNH, k_BKTH, v_BKTH, window)
    kernel, name = kernels[where], f"Attention for {where.upper()}"
    limit = shardings.limit(sharding) or kernel.limit(q_BTNH, window)
    if implementation != "auto":
        fallback.refuse(name, limit)
    if limit is not None:
        fallback.report(name, limit)
        return reference.attention(q_BTNH, k_BKTH, v_BKTH, window)
    run = functools.partial(kernel.attention, window=window)
    return shardings.on_each_shard(run, sharding)(q_BTNH, k_BKTH, v_BKTH)
