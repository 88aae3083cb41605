"""Paged attention as a Pallas kernel for TPU.

The grid is a flat list of (row, group of pages) pairs, made before the kernel from the rows' true
lengths: a short row costs few steps and an unused page none. Pages stay in HBM; a step copies
those of the next step, of the next row too, while it computes on its own.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from acim_kernels.paged_attention import tiles as tiling
from acim_kernels.paged_attention.pages import Pages

_NONE = float(jnp.finfo(jnp.float32).min)
#: Chips with two cores share the list; on the others the halves follow one another.
_CORES = 2
_QUERIES = 256
_STEP_BYTES = 1 << 20
_STEP_KEYS = 1024
#: Entries of the scalar memory that the tables and the list of one call may take.
_SCALARS = 128 * 1024


class _Work(NamedTuple):
    """What the scalar core reads: step i of the list is tile `tile[i]` from page `page[i]` on.

    end: each tile's last page. bounds: [0, middle, length] of the list, a part a core. tables:
    flat [B·M]. window: [1].
    """

    tile: Int[Array, "I"]
    page: Int[Array, "I"]
    end: Int[Array, "Z"]
    bounds: Int[Array, "3"]
    tables: Int[Array, "BM"]
    window: Int[Array, "1"]


def limit(q_BTNH: Array, pages: Pages) -> str | None:
    """Why this kernel does not cover the input; None if it does.

    XLA lays arrays whose last axis is shorter than the 128 lanes out in another order than kernels
    read them in, and would copy the whole cache at every call: heads must be of 128, and pages of
    int8, whose scales end in the page axis, of 128 tokens.
    """
    G, H = pages.k.shape[2:]
    if q_BTNH.dtype == jnp.float16:
        return "float16 is no type of the TPU; use bfloat16"
    if H % 128:
        return f"heads of {H}, where whole vectors of 128 are needed"
    if G % 8:
        return f"pages of {G} tokens, where a multiple of 8 is needed"
    if pages.k_scale is not None and G % 128:
        return f"int8 pages of {G} tokens, where a multiple of 128 is needed"
    return None


def attention(
    q_BTNH: Float[Array, "B T N H"],
    pages: Pages,
    tables_BM: Int[Array, "B M"],
    positions_BT: Int[Array, "B T"],
    window: int | Array | None = None,
    *,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """As `reference.attention`. interpret: run on the CPU, with the TPU's memories imitated."""
    B, T, N = q_BTNH.shape[:3]
    M = tables_BM.shape[1]
    tiles_a_row = -(-T // max(1, _QUERIES * pages.k.shape[1] // N))
    rows = max(1, _SCALARS // (M + tiles_a_row * M))
    parts: list[Array] = []
    for i in range(0, B, rows):
        q, tables, positions = (x[i : i + rows] for x in (q_BTNH, tables_BM, positions_BT))
        parts.append(_attend(q, pages, tables, positions, window, interpret))
    return jnp.concatenate(parts)


def _attend(q_BTNH, pages, tables_BM, positions_BT, window, interpret: bool) -> Array:
    K, G, H = pages.k.shape[1:]
    B, M = tables_BM.shape
    tiles = tiling.split(
        q_BTNH, positions_BT, window,
        kv_heads=K, num_keys=M * G, most=_QUERIES, power_of_two=False,
    )  # fmt: skip
    P = _pages_a_step(pages, M)
    work = _plan(tiles, tables_BM, G, P)
    arrays = [array for array in pages if array is not None]
    Z, _, m, _ = tiles.queries.shape

    def of_tile(shape: tuple[int, ...]) -> pl.BlockSpec:
        def index(core, step, work_tile, page, end, bounds, *_):
            i = jnp.minimum(bounds[core] + step, bounds[core + 1] - 1)
            return (work_tile[i], *(0 for _ in shape))

        return pl.BlockSpec((1, *shape), index)

    out = pl.pallas_call(
        functools.partial(_kernel, tiles_a_row=Z // B, M=M, P=P),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(work),
            grid=(_CORES, jnp.max(jnp.diff(work.bounds))),
            in_specs=[
                of_tile((K, m, H)),
                of_tile((m, 1)),
                *(pl.BlockSpec(memory_space=pl.ANY) for _ in arrays),
            ],
            out_specs=of_tile((K, m, H)),
            scratch_shapes=[
                [pltpu.VMEM((2, P, *array.shape[1:]), array.dtype) for array in arrays],
                pltpu.VMEM((K, m, 1), jnp.float32),
                pltpu.VMEM((K, m, 1), jnp.float32),
                pltpu.VMEM((K, m, H), jnp.float32),
                pltpu.SemaphoreType.DMA((2,)),
            ],
        ),
        out_shape=jax.ShapeDtypeStruct(tiles.queries.shape, q_BTNH.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        interpret=pltpu.InterpretParams() if interpret else False,
    )(*work, tiles.queries, tiles.positions[..., None], *arrays)
    return tiling.join(out, q_BTNH.shape)


def _pages_a_step(pages: Pages, M: int) -> int:
    """So many that copying them takes longer than a step's fixed cost."""
    K, G, H = pages.k.shape[1:]
    one = 2 * K * G * H * pages.k.dtype.itemsize
    return max(1, min(M, _STEP_BYTES // one, _STEP_KEYS // G))


def _plan(tiles: tiling.Tiles, tables_BM: Array, G: int, P: int) -> _Work:
    """The list of steps, cut between two tiles near the half of the work."""
    M, Z = tables_BM.shape[1], tiles.first.shape[0]
    begin, end = tiles.first // G, tiles.last // G
    ends = jnp.cumsum((end - begin) // P + 1)
    i = jnp.arange(Z * -(-M // P))
    tile = jnp.minimum(jnp.searchsorted(ends, i, side="right"), Z - 1)
    starts = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    page = begin[tile] + (i - starts[tile]) * P
    middle = (
        starts[jnp.clip(jnp.searchsorted(starts, ends[-1] // 2), 1, Z - 1)] if Z > 1 else ends[-1]
    )
    bounds = jnp.stack([jnp.zeros_like(middle), middle, ends[-1]])
    entries = (tile, page, end, bounds, tables_BM.reshape(-1), tiles.window[None])
    return _Work(*(x.astype(jnp.int32) for x in entries))


def _kernel(*refs, tiles_a_row: int, M: int, P: int) -> None:
    (tile, page, end, bounds, tables, window), (q_ref, positions_ref) = refs[:6], refs[6:8]
    arrays, (out_ref, buffers, best, total, summed, arrived) = refs[8:-6], refs[-6:]
    core, step = pl.program_id(0), pl.program_id(1)
    i, stop = bounds[core] + step, bounds[core + 1]

    def copies(i, wait: bool) -> None:
        row, slot = jax.lax.div(tile[i], tiles_a_row), jax.lax.rem(i - bounds[core], 2)

        def one(j, _):
            number = tables[row * M + page[i] + j]
            for array, buffer in zip(arrays, buffers, strict=True):
                copy = pltpu.make_async_copy(array.at[number], buffer.at[slot, j], arrived.at[slot])
                copy.wait() if wait else copy.start()

        jax.lax.fori_loop(0, jnp.minimum(P, end[tile[i]] + 1 - page[i]), one, None)

    pl.when((step == 0) & (i < stop))(functools.partial(copies, i, wait=False))
    pl.when(i + 1 < stop)(functools.partial(copies, i + 1, wait=False))

    @pl.when(i < stop)
    def _():
        @pl.when((step == 0) | (tile[jnp.maximum(i - 1, 0)] != tile[i]))
        def _():
            best[...] = jnp.full(best.shape, _NONE, jnp.float32)
            total[...] = jnp.zeros(total.shape, jnp.float32)
            summed[...] = jnp.zeros(summed.shape, jnp.float32)

        copies(i, wait=True)
        slot = jax.lax.rem(step, 2)
        here = [buffer.at[slot] for buffer in buffers]
        _add(page[i], end[tile[i]], window[0], q_ref, positions_ref, here, best, total, summed)

        @pl.when(page[i] + P > end[tile[i]])
        def _():
            out = summed[...] / jnp.maximum(total[...], 1e-30)
            out_ref[0] = out.astype(out_ref.dtype)


def _add(page, end, window, q_ref, positions_ref, here, best, total, summed) -> None:
    """One step's keys and values into the running softmax of its tile."""
    P, K, G, H = here[0].shape
    dtype = q_ref.dtype
    precision = tiling.precision(dtype)
    first, positions = page * G, positions_ref[0]
    keys = first + jax.lax.broadcasted_iota(jnp.int32, (1, P * G), 1)
    seen = (keys <= positions) & (keys > positions - window)
    # The last step of a tile may copy fewer than P pages: what lies behind them is anything.
    behind = first + jax.lax.broadcasted_iota(jnp.int32, (P * G, 1), 0) >= (end + 1) * G

    def across(scales, h):
        return jnp.concatenate([scales[p, h : h + 1] for p in range(P)], axis=1)

    for h in range(K):
        k = here[0][:, h].reshape(P * G, H).astype(dtype)
        v = here[1][:, h].reshape(P * G, H).astype(dtype)
        v = jnp.where(behind, jnp.zeros_like(v), v)
        scores = jax.lax.dot_general(
            q_ref[0, h], k, (((1,), (1,)), ((), ())),
            precision=precision, preferred_element_type=jnp.float32,
        )  # fmt: skip
        if len(here) == 4:
            scores *= across(here[2], h)
        scores = jnp.where(seen, scores, _NONE)
        new_best = jnp.maximum(best[h], jnp.max(scores, axis=1, keepdims=True))
        weights = jnp.where(seen, jnp.exp(scores - new_best), 0.0)
        keep = jnp.exp(best[h] - new_best)
        total[h] = total[h] * keep + jnp.sum(weights, axis=1, keepdims=True)
        if len(here) == 4:
            weights = jnp.where(seen, weights * across(here[3], h), 0.0)
        new = jnp.dot(
            weights.astype(dtype), v, precision=precision, preferred_element_type=jnp.float32
        )
        summed[h] = summed[h] * keep + new
        best[h] = new_best
