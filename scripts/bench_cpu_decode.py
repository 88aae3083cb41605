"""Greedy decoding of a model folder on this CPU: ours, transformers' `generate`, and the roofline.

    python -m venv bench && bench/bin/pip install -e . torch
    bench/bin/python -m scripts.bench_cpu_decode MODEL --rows 16 64

Both continue the same prompts by the same number of tokens in float32, in one process and in turns;
medians are shown. A call of one token gives the time for the prompts, the rest is decoding. A step
has to read all weights and its rows' keys and values once, and to multiply every row by every
weight: the bound is the longer of the two at the bandwidth and product rate that this machine shows
in the same run. Without torch only ours is measured.
"""

import functools
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table

from acim_jax.checkpoint import model_folder
from acim_jax.markup import Markup
from acim_jax.model import layers, transformer
from acim_jax.model.config import ModelConfig, ModelSource
from acim_jax.records import Author, Problem, RolloutRequest, SamplingParams
from acim_jax.rollout import converse, processes
from acim_jax.rollout.sampler import Sampler
from acim_jax.sampling.config import SamplingConfig
from scripts import bench, bench_sampling
from scripts.peer_samplers import PAD, Timed, timed

#: Tokens sampled from `new` on, [rows, new].
Generate = Callable[[int], np.ndarray]
PROMPT = 48


class Machine(NamedTuple):
    """Bytes a second that are read from memory, and float32 operations a second of a product."""

    bandwidth: float
    flops: float


class Step(NamedTuple):
    """Bytes and float32 operations of one decode step."""

    bytes: int
    flops: int

    def seconds(self, machine: Machine) -> float:
        """The least that it takes."""
        return max(self.bytes / machine.bandwidth, self.flops / machine.flops)


class Turn(NamedTuple):
    """A call for one token a row, one for all, and what the second one sampled."""

    first: Timed
    whole: Timed
    tokens: np.ndarray


def measure_machine(repeats: int = 10) -> Machine:
    """The best of several sums over 1 GB, and of products of several shapes."""

    def best(call: Callable[..., Any], *arrays: jax.Array) -> float:
        run = jax.jit(call)
        jax.block_until_ready(run(*arrays))
        times = [bench.seconds(lambda: jax.block_until_ready(run(*arrays))) for _ in range(repeats)]
        return min(times)

    large = jnp.ones((2**28,), jnp.float32)
    square, wide = jnp.ones((2048, 2048)), jnp.ones((2**14, 1024))
    rates = [2 * 2048**3 / best(jnp.matmul, square, square)]
    for rows in (16, 32, 64):
        x = jnp.ones((rows, 1024))
        rates.append(2 * rows * wide.size / best(layers.stream, x, wide))
    return Machine(large.nbytes / best(jnp.sum, large), max(rates))


def step_of(params: transformer.Params, config: ModelConfig, rows: int, tokens: float) -> Step:
    """Of `rows` rows of `tokens` tokens. Of a tied embedding the look-up is not counted."""
    table = params["embed" if config.tie_embeddings else "unembed"]
    weights = sum(x.size for x in jax.tree.leaves((params["blocks"], table)))
    cached = 2 * config.num_layers * config.num_kv_heads * config.head_dim * rows * tokens
    attended = 4 * config.num_layers * config.num_heads * config.head_dim * rows * tokens
    return Step(int(4 * (weights + cached)), int(2 * rows * weights + attended))


def prompts(rows: int) -> list[str]:
    """As many different questions, a character a token."""
    return [f"What is {i + 100} times {i * 7 + 11}?".ljust(PROMPT) for i in range(rows)]


def ours(params: transformer.Params, config: ModelConfig, rows: int, new: int) -> Generate:
    sampling = SamplingConfig(
        slots=rows,
        spare=0,
        max_length=PROMPT + new,
        chunk=32,
        prefill_rows=16,
        prefill_buckets=(PROMPT,),
    )
    tokenizer = bench_sampling.Bytes(config.vocab_size)
    sampler = Sampler(config, sampling, tokenizer, Markup(max_turns=1))
    processes.compile_all(params, sampler)

    def generate(count: int) -> np.ndarray:
        wanted = [
            RolloutRequest(Problem(str(i), text, ""), "text", 0, max_tokens=count)
            for i, text in enumerate(prompts(rows))
        ]
        greedy = SamplingParams(0.0)
        episodes, _ = converse.converse(
            params, wanted, sampler, None, seed=0, iteration=0, sampling=greedy
        )
        made = [[s for s in e.segments if s.author is Author.MODEL] for e in episodes]
        return np.stack([np.concatenate([s.token_ids for s in some]) for some in made])

    return generate


def transformers(folder: Path) -> Callable[[int], Generate]:
    """Of a number of rows. A new generation config, since a folder's own may punish repetitions."""
    import torch  # pyright: ignore
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config = GenerationConfig()

    def generate(ids: Any, count: int) -> np.ndarray:
        with torch.inference_mode():
            found = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=count,
                eos_token_id=None,
                pad_token_id=PAD,
            )
        return found[:, PROMPT:].numpy()

    def of_rows(rows: int) -> Generate:
        ids = torch.tensor([list(text.encode()) for text in prompts(rows)])
        return functools.partial(generate, ids)

    return of_rows


def take_turn(generate: Generate, new: int) -> Turn:
    _, first = timed(lambda: generate(1))
    tokens, whole = timed(lambda: generate(new))
    return Turn(first, whole, tokens)


def report(
    found: dict[str, list[Turn]], rows: int, new: int, step: Step, machine: Machine
) -> rich.table.Table:
    title = (
        f"{rows} rows of {PROMPT} + {new} tokens; a step: {step.bytes / 1e9:.2f} GB at "
        f"{machine.bandwidth / 1e9:.1f} GB/s, {step.flops / 1e9:.1f} GFLOP at "
        f"{machine.flops / 1e9:.0f} GFLOP/s; load {os.getloadavg()[0]:.1f}"
    )
    columns = ("tokens/s", "ours ×", "per CPU second", "ours ×", "prompt tokens/s", "ms a step")
    table = bench.table(title, "sampler", *columns, "bound", "share of bound", "same tokens")
    mine = next(iter(found.values()))

    def median(some: list[Turn], value: Callable[[Turn], float]) -> float:
        return float(np.median([value(turn) for turn in some]))

    for name, some in found.items():
        wall = rows * new / median(some, lambda turn: turn.whole.seconds)
        cpu = rows * new / median(some, lambda turn: turn.whole.cpu_seconds)
        a_step = median(some, lambda turn: turn.whole.seconds - turn.first.seconds) / (new - 1)
        bound = step.seconds(machine)
        table.add_row(
            name,
            f"{wall:.1f}",
            f"{rows * new / median(mine, lambda turn: turn.whole.seconds) / wall:.2f}",
            f"{cpu:.1f}",
            f"{rows * new / median(mine, lambda turn: turn.whole.cpu_seconds) / cpu:.2f}",
            f"{rows * PROMPT / median(some, lambda turn: turn.first.seconds):.0f}",
            f"{a_step * 1e3:.0f}",
            f"{bound * 1e3:.0f}",
            f"{bound / a_step:.2f}",
            f"{np.mean(some[-1].tokens == mine[-1].tokens):.3f}",
        )
    return table


def main() -> None:
    parser = bench.options(__doc__)
    parser.add_argument("model", type=Path, help="a Hugging Face folder")
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--new", type=int, default=64, help="tokens sampled in each row")
    parser.add_argument("--repeats", type=int, default=3, help="timed turns after one that is not")
    parser.add_argument("--scan", action="store_true", help="ours with layers in a scan as well")
    args = parser.parse_args()
    console = rich.console.Console(width=160)
    source = ModelSource(str(args.model), dtype="float32", param_dtype="float32")
    model = model_folder.open_model(source)
    stacked = model_folder.load_params(model, None)
    params = transformer.for_sampling(stacked, model.config)
    systems: dict[str, Callable[[int], Generate]] = {
        "acim_jax": functools.partial(ours, params, model.config, new=args.new)
    }
    if args.scan:
        systems["acim_jax, scan"] = functools.partial(ours, stacked, model.config, new=args.new)
    if importlib.util.find_spec("torch") is None:
        console.print("transformers is left out: torch is not installed")
    else:
        systems["transformers"] = transformers(args.model)
    for rows in args.rows:
        machine = measure_machine()
        calls = {
            name: functools.partial(take_turn, make(rows), args.new)
            for name, make in systems.items()
        }
        found = bench.in_turns(calls, args.repeats)
        step = step_of(params, model.config, rows, PROMPT + args.new / 2)
        console.print(report(found, rows, args.new, step, machine))


if __name__ == "__main__":
    main()
