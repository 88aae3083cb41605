"""What decoding's attention costs: every implementation that the platform has, side by side.

    python scripts/bench_kernels.py                        # the shapes of this platform
    python scripts/bench_kernels.py --rows 64 --lengths 16,300 --heads 8,2,32 --page 32

Rows have lengths spread evenly over --lengths, and their pages are scattered. The implementations
run in turns in one process, so that a busy machine slows all of them. Prints the medians, their
ratio to the reference and, on an accelerator, the share of the time that reading the rows' own keys
and values once would take at the memory's full speed.
"""

import functools
import statistics
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from acim_kernels.paged_attention import api, ragged, reference
from acim_kernels.paged_attention.pages import Pages, quantize
from scripts import bench

#: Bytes a second of the memory, by the beginning of the device's name, from the makers' sheets.
BANDWIDTH = {
    "NVIDIA A100-SXM4-80GB": 2.04e12,
    "NVIDIA A100": 1.56e12,
    "NVIDIA H100 80GB HBM3": 3.35e12,
    "NVIDIA H200": 4.8e12,
    "TPU v4": 1.2e12,
    "TPU v5 lite": 0.82e12,
    "TPU v5": 2.77e12,
    "TPU v6 lite": 1.64e12,
}
#: Calls in one compiled loop, so that its start costs nothing.
CALLS = 20


class Shape(NamedTuple):
    rows: int
    shortest: int
    longest: int
    heads: int
    kv_heads: int
    head_dim: int
    page: int


def implementations(q: jax.Array, pages: Pages) -> dict[str, Callable]:
    def ragged_attention(q, pages, tables, positions):
        return ragged.attention(q[:, 0], pages, tables, positions[:, 0])[:, None]

    found: dict[str, Callable] = {"reference": reference.attention, "ragged": ragged_attention}
    platform = jax.default_backend()
    if kernel := api.KERNELS.get(platform):
        if limit := kernel.limit(q, pages):
            print(f"{platform}: not measured, {limit}")
        else:
            found[platform] = kernel.attention
    return found | {"auto": api.attention}


def draw(shape: Shape, dtype: str) -> tuple[tuple, int]:
    """The arguments of one call, and the bytes of the keys and values that its rows have."""
    rng = np.random.default_rng(0)
    M = -(-shape.longest // shape.page)
    lengths = np.linspace(shape.shortest, shape.longest, shape.rows).astype(int)
    rng.shuffle(lengths)
    tables = 1 + rng.permutation(shape.rows * M).reshape(shape.rows, M)
    for row, length in zip(tables, lengths, strict=True):
        row[-(-length // shape.page) :] = 0
    exact = jnp.bfloat16 if dtype == "int8" else jnp.dtype(dtype)
    shape_of_pages = (1 + shape.rows * M, shape.kv_heads, shape.page, shape.head_dim)
    k, v = (jax.random.normal(jax.random.key(i), shape_of_pages, exact) for i in range(2))
    pages = Pages(k, v)
    if dtype == "int8":
        (k, k_scale), (v, v_scale) = quantize(k), quantize(v)
        pages = Pages(k, v, k_scale, v_scale)
    q = jax.random.normal(jax.random.key(2), (shape.rows, 1, shape.heads, shape.head_dim), exact)
    a_token = sum(x.nbytes for x in pages if x is not None) / (shape_of_pages[0] * shape.page)
    arguments = (q, pages, jnp.asarray(tables), jnp.asarray(lengths[:, None] - 1))
    return arguments, int(a_token * lengths.sum())


def seconds(kernels: dict[str, Callable], arguments: tuple, rounds: int) -> dict[str, list[float]]:
    """Seconds a call, of every round; each call's result is the next one's query."""

    def many(kernel, q, *rest):
        return jax.lax.fori_loop(0, CALLS, lambda _, q: kernel(q, *rest), q)

    def clock(kernel):
        run = jax.jit(functools.partial(many, kernel))
        return lambda: bench.seconds(lambda: jax.block_until_ready(run(*arguments))) / CALLS

    return bench.in_turns({name: clock(kernel) for name, kernel in kernels.items()}, rounds)


def report(shape: Shape, dtype: str, rounds: int) -> None:
    arguments, needed = draw(shape, dtype)
    taken = seconds(implementations(*arguments[:2]), arguments, rounds)
    kind = jax.devices()[0].device_kind
    speed = next((v for name, v in BANDWIDTH.items() if kind.startswith(name)), None)
    print(f"{dtype} {shape._asdict()}: {needed / 1e6:.1f} MB of keys and values")
    base = statistics.median(taken["reference"])
    for name, times in taken.items():
        middle = statistics.median(times)
        share = f"  {needed / speed / middle:6.1%} of the bandwidth" if speed else ""
        print(f"  {name:10s} {middle * 1e6:9.0f} us  {base / middle:5.2f} x reference{share}")


def main() -> None:
    parser = bench.options(__doc__)
    on_cpu = jax.default_backend() == "cpu"
    parser.add_argument("--rows", default="64,128" if on_cpu else "1,8,64,256")
    parser.add_argument("--lengths", default="16,300" if on_cpu else "512,4096")
    parser.add_argument("--heads", default="8,2,32" if on_cpu else "28,4,128")
    parser.add_argument("--page", type=int, default=32 if on_cpu else 128)
    parser.add_argument("--dtypes", default="float32" if on_cpu else "bfloat16,int8")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    shortest, longest = map(int, args.lengths.split(","))
    heads, kv_heads, head_dim = map(int, args.heads.split(","))
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    for dtype in args.dtypes.split(","):
        for rows in map(int, args.rows.split(",")):
            shape = Shape(rows, shortest, longest, heads, kv_heads, head_dim, args.page)
            report(shape, dtype, args.rounds)


if __name__ == "__main__":
    main()
