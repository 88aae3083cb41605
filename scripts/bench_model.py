"""Decoding and training of one model shape against this device's bounds, e.g. on a GPU.

    python -m scripts.bench_model --shape qwen2.5-0.5b --rows 64 256 512

Random weights in bfloat16 (training: float32 weights, bfloat16 activations). A decode step has to
read all weights and the keys and values of its rows once, and to multiply every row by every
weight; training makes eight operations a weight and token: two forward, four backward, two for the
forward pass that is computed again. The bounds are those at the bandwidth and product rate that the
device shows in the same run. `unrolled`: layers as a Python loop.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rich.console

from acim_jax.improve import step
from acim_jax.improve.config import PolicyObjective
from acim_jax.improve.packing import TokenBatch
from acim_jax.model import transformer
from acim_jax.model.config import ModelConfig
from acim_jax.records import Problem, RolloutRequest
from scripts import bench, bench_sampling
from scripts.bench_sampling import PROMPT, Ours
from scripts.peer_samplers import timed

SHAPES = {
    "tiny": ModelConfig(640, 96, 256, 4, 4, 2, 24),
    "qwen2.5-0.5b": ModelConfig(151936, 896, 4864, 24, 14, 2, 64),
    "qwen2.5-1.5b": ModelConfig(151936, 1536, 8960, 28, 12, 2, 128),
}


class Machine(NamedTuple):
    """Bytes a second of the memory, and bfloat16 operations a second of a matrix product."""

    bandwidth: float
    flops: float


def median_s(call: Callable[[], object], rounds: int = 5) -> float:
    """Seconds of a call that has been made before."""
    jax.block_until_ready(call())
    return statistics.median(
        bench.seconds(lambda: jax.block_until_ready(call())) for _ in range(rounds)
    )


def measure_machine() -> Machine:
    on_cpu = jax.default_backend() == "cpu"
    size, side = (2**26, 1024) if on_cpu else (2**30, 8192)
    large = jnp.ones((size,), jnp.bfloat16)
    square = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    copy = jax.jit(lambda x: x + 1)
    product = jax.jit(jnp.matmul)
    return Machine(
        2 * large.nbytes / median_s(lambda: copy(large)),
        2 * side**3 / median_s(lambda: product(square, square)),
    )


def weights_of(config: ModelConfig) -> int:
    """Weights that every token is multiplied by; of tied embeddings the look-up is not counted."""
    shapes = transformer.abstract_params(config)
    table = shapes["embed" if config.tie_embeddings else "unembed"]
    return sum(x.size for x in jax.tree.leaves((shapes["blocks"], table)))


def decode_row(
    config: ModelConfig, params: transformer.Params, rows: int, machine: Machine
) -> tuple[float, float, float]:
    """Seconds of a step with all rows at work, their bound, and tokens a second."""
    ours = Ours(params, config, rows)
    longest = bench_sampling.LONGEST
    wanted = [
        RolloutRequest(Problem(str(i), "x" * PROMPT, ""), "text", 0, max_tokens=longest)
        for i in range(rows)
    ]
    ours.run(wanted)
    (_, stats), taken = timed(functools.partial(ours.run, wanted))
    seconds = taken.seconds / stats.steps
    tokens = rows * (PROMPT + longest / 2)
    cached = 2 * config.num_layers * config.num_kv_heads * config.head_dim * tokens
    attended = 4 * config.num_layers * config.num_heads * config.head_dim * tokens
    weights = weights_of(config)
    read = (weights + cached) * jnp.dtype(config.dtype).itemsize / machine.bandwidth
    return seconds, max(read, (2 * rows * weights + attended) / machine.flops), rows / seconds


def train_row(
    config: ModelConfig, rows: int, width: int, machine: Machine
) -> tuple[float, float, float]:
    """Seconds of the policy term's gradient of one microbatch, their bound, tokens a second."""
    config = dataclasses.replace(config, dtype="bfloat16", param_dtype="float32", remat=True)
    params = jax.jit(functools.partial(transformer.init, config))(jax.random.key(0))
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (rows, width), np.int32)
    ones = np.ones((rows, width), np.float32)
    batch = TokenBatch(*map(jnp.asarray, (ids, ones, -10 * ones, ones[:, 0])))
    tokens, gradients, times = rows * width, step.zeros(params), []
    for _ in range(5):
        started = time.perf_counter()
        gradients, _ = step.add_policy_gradient(
            gradients, params, batch, np.float32(tokens), np.float32(1.0),
            objective=PolicyObjective(), config=config, chunk=128,
        )  # fmt: skip
        jax.block_until_ready(gradients)
        times.append(time.perf_counter() - started)
    seconds = statistics.median(times[1:])
    return seconds, 8 * weights_of(config) * tokens / machine.flops, tokens / seconds


def main() -> None:
    parser = bench.options(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--rows", nargs="+", type=int, default=[64, 512], help="rows that decode")
    parser.add_argument("--train", default="32x640", help="rows x tokens of a microbatch")
    parser.add_argument("--unrolled", action="store_true", help="decode with layers unrolled too")
    args = parser.parse_args()
    console, machine = rich.console.Console(width=110), measure_machine()
    console.print(
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}: memory "
        f"{machine.bandwidth / 1e9:,.0f} GB/s, bfloat16 products {machine.flops / 1e12:.1f} TFLOP/s"
    )
    table = bench.table(args.shape, "", "ms", "bound ms", "bound / time", "tokens/s")

    def add(name: str, seconds: float, bound: float, rate: float) -> None:
        cells = (f"{seconds * 1e3:.2f}", f"{bound * 1e3:.2f}", f"{bound / seconds:.2f}")
        table.add_row(name, *cells, f"{rate:,.0f}")

    for unroll in (False, True)[: 1 + args.unrolled]:
        config = dataclasses.replace(
            SHAPES[args.shape], unroll=unroll, dtype="bfloat16", param_dtype="bfloat16"
        )
        params = jax.jit(functools.partial(transformer.init, config))(jax.random.key(0))
        for rows in args.rows:
            name = f"decode, {rows} rows{', unrolled' if unroll else ''}"
            add(name, *decode_row(config, params, rows, machine))
    rows, width = map(int, args.train.split("x"))
    add(f"gradient, {rows} × {width}", *train_row(SHAPES[args.shape], rows, width, machine))
    console.print(table)


if __name__ == "__main__":
    main()
