"""Paged attention as a Pallas (Triton) kernel for GPU.

A kernel instance takes one tile of queries, one key head and one of S parts of the row's keys, so
that few rows still fill the device; the parts are joined by their softmax sums afterwards. Its
loop ends with the row's own keys.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plt
from jaxtyping import Array, Float, Int

from acim_kernels.paged_attention import tiles as tiling
from acim_kernels.paged_attention.pages import Pages

_NONE = float(jnp.finfo(jnp.float32).min)
_QUERIES = 64
#: Keys a loop step, whatever the page size: each is looked up through the table.
_KEYS = 64
#: Instances wanted on the device (two a multiprocessor of the largest), and parts of a row at most.
_INSTANCES = 264
_PARTS = 16


class _Refs(NamedTuple):
    tables: Array
    first: Array
    last: Array
    window: Array
    positions: Array
    q: Array
    arrays: tuple[Array, ...]
    out: Array
    best: Array
    total: Array


def limit(q_BTNH: Array, pages: Pages) -> str | None:
    """Why this kernel does not cover the input; None if it does."""
    H, group = pages.k.shape[3], q_BTNH.shape[2] // pages.k.shape[1]
    if H not in (16, 32, 64, 128, 256):
        return f"heads of {H}, where a power of two from 16 to 256 is needed"
    if group > _QUERIES:
        return f"{group} query heads a key head, where {_QUERIES} at most fit"
    # Pallas counts elements in 32 bits up to 2³² bytes: too few for more than 2³¹ of one byte.
    if pages.k.dtype.itemsize == 1 and 2**31 <= pages.k.size <= 2**32:
        return "an int8 cache of 2 to 4 GiB, whose elements Pallas misnumbers"
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
    """As `reference.attention`. interpret: run on the CPU, in plain jnp."""
    K, G, H = pages.k.shape[1:]
    B, M = tables_BM.shape
    tiles = tiling.split(
        q_BTNH, positions_BT, window,
        kv_heads=K, num_keys=M * G, most=_QUERIES, power_of_two=True,
    )  # fmt: skip
    Z, _, m, _ = tiles.queries.shape
    S = max(1, min(_PARTS, _INSTANCES // (Z * K), M * G // _KEYS))
    arrays = [array for array in pages if array is not None]
    sums = jax.ShapeDtypeStruct((Z, K, S, m), jnp.float32)
    out, best, total = pl.pallas_call(
        functools.partial(_kernel, tiles_a_row=Z // B),
        grid=(Z, K, S),
        out_shape=(jax.ShapeDtypeStruct((Z, K, S, m, H), jnp.float32), sums, sums),
        compiler_params=plt.CompilerParams(num_warps=4, num_stages=3),
        interpret=interpret,
    )(
        tables_BM.astype(jnp.int32), tiles.first, tiles.last, tiles.window[None],
        tiles.positions, tiles.queries, *arrays,
    )  # fmt: skip
    share = jnp.exp(best - jnp.max(best, axis=2, keepdims=True))
    summed = jnp.sum(out * share[..., None], axis=2)
    total = jnp.maximum(jnp.sum(total * share, axis=2), 1e-30)
    return tiling.join((summed / total[..., None]).astype(q_BTNH.dtype), q_BTNH.shape)


def _kernel(*given, tiles_a_row: int) -> None:
    tables, first, last, window, positions, queries, *arrays, out, best, total = given
    refs = _Refs(tables, first, last, window, positions, queries, tuple(arrays), out, best, total)
    z, h, s = pl.program_id(0), pl.program_id(1), pl.program_id(2)
    first, last = refs.first[z], refs.last[z]
    steps = jax.lax.div(last - first, _KEYS) + 1
    steps_a_part = jax.lax.div(steps + pl.num_programs(2) - 1, pl.num_programs(2))
    begin = jnp.minimum(s * steps_a_part, steps)
    end = jnp.minimum(begin + steps_a_part, steps)
    m, H = refs.q.shape[2:]
    start = (
        jnp.full((m,), _NONE, jnp.float32),
        jnp.zeros((m,), jnp.float32),
        jnp.zeros((m, H), jnp.float32),
    )
    row = jax.lax.div(z, tiles_a_row)
    q, positions, window = refs.q[z, h], refs.positions[z], refs.window[0]
    step = functools.partial(_add, refs, row, h, q, positions, window, first, last)
    best, total, summed = jax.lax.fori_loop(begin, end, step, start)
    refs.best[z, h, s] = best
    refs.total[z, h, s] = total
    refs.out[z, h, s] = summed


def _add(refs: _Refs, row, h, q, positions, window, first, last, i, carry):
    """One step's keys and values into the running softmax of a tile."""
    best, total, summed = carry
    G = refs.arrays[0].shape[2]
    precision = tiling.precision(q.dtype)
    keys = first + i * _KEYS + jnp.arange(_KEYS, dtype=jnp.int32)
    held = jnp.minimum(keys, last)
    numbers = refs.tables[row, jax.lax.div(held, G)]
    k, v, *scales = (array[numbers, h, jax.lax.rem(held, G)] for array in refs.arrays)
    scores = jnp.dot(
        q, k.astype(q.dtype).T, precision=precision, preferred_element_type=jnp.float32
    )
    if scales:
        scores *= scales[0]
    seen = (keys <= positions[:, None]) & (keys > positions[:, None] - window)
    scores = jnp.where(seen, scores, _NONE)
    new_best = jnp.maximum(best, jnp.max(scores, axis=1))
    weights = jnp.where(seen, jnp.exp(scores - new_best[:, None]), 0.0)
    keep = jnp.exp(best - new_best)
    total = total * keep + jnp.sum(weights, axis=1)
    if scales:
        weights *= scales[1]
    new = jnp.dot(
        weights.astype(q.dtype),
        v.astype(q.dtype),
        precision=precision,
        preferred_element_type=jnp.float32,
    )
    return new_best, total, summed * keep[:, None] + new
