"""Sampling speed beside other samplers: the same random weights, in one process, one after another.

    python -m venv bench && bench/bin/pip install -e . google-tunix==0.1.7 torch
    bench/bin/python -m scripts.bench_sampling --size 0.5M 5M 50M

64 problems × 8 rollouts whose lengths are spread evenly over 16 to 256 tokens; only these tokens
count. For each system that is installed it prints: tokens per second and per CPU second (which
other jobs on the machine do not affect), functions compiled in the timed run and in the schedule of
settings, prompt tokens computed, seconds that the host waited for the device, and the largest
difference of a stored log-prob from the trainer's. Then ours with programs in half of the rows, and
without. On an accelerator it prints the share of the memory bandwidth that decoding reaches, by
batch size.
"""

import dataclasses
import functools
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table

from acim_jax.checkpoint import hf_export
from acim_jax.environment.executor import Executor
from acim_jax.markup import Markup
from acim_jax.model import scoring, transformer
from acim_jax.model.config import Dtype, ModelConfig
from acim_jax.records import ExecutionResult, Problem, RolloutRequest, SamplingParams, Status
from acim_jax.rollout import converse, processes
from acim_jax.rollout.sampler import Sampler
from acim_jax.sampling.config import SamplingConfig
from scripts import bench, peer_samplers
from scripts.peer_samplers import Measured, Score, timed

KvCache = Literal["model", "int8"]
WAIT_S = 0.05
PROBLEMS, ROLLOUTS, SHORTEST, LONGEST, PROMPT = 64, 8, 16, 256, 24
SIZES = {
    "0.5M": (640, 96, 256, 4, 4, 24),
    "5M": (2048, 256, 704, 6, 4, 64),
    "50M": (8192, 640, 1792, 9, 10, 64),
}


def make_model(size: str, dtype: Dtype = "float32") -> tuple[transformer.Params, ModelConfig]:
    vocab, hidden, wide, layers, heads, head_dim = SIZES[size]
    config = ModelConfig(
        vocab, hidden, wide, layers, heads, 2, head_dim, dtype=dtype, param_dtype=dtype
    )
    return jax.jit(functools.partial(transformer.init, config))(jax.random.key(0)), config


class Bytes:
    """A tokenizer of characters. A token in 64 may close a program; the first one does."""

    eos_id = 0  # no token ends a response: `stop_ids` is empty
    output = np.arange(100, 108, dtype=np.int32)

    def __init__(self, vocab_size: int) -> None:
        self.halting = np.arange(vocab_size) % 64 == 63

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def decode(self, token_ids: np.ndarray) -> str:
        return "".join(chr(32 + int(i) % 90) for i in token_ids)

    def prompt_ids(self, question: str, markup: Markup) -> np.ndarray:
        return self.encode(question)

    def output_ids(self, text: str, markup: Markup) -> np.ndarray:
        return self.output

    def halting_ids(self, markup: Markup) -> np.ndarray:
        return self.halting

    def opening_ids(self, markup: Markup) -> np.ndarray:
        return np.zeros((1,), bool)

    def opens_program(self, token_ids: np.ndarray, markup: Markup) -> bool:
        return False

    def stop_ids(self, markup: Markup) -> np.ndarray:
        return np.zeros((0,), np.int32)

    def text_stops(self, markup: Markup) -> tuple[str, ...]:
        return ()

    def closed_program(self, token_ids: np.ndarray, markup: Markup) -> str | None:
        is_first = self.halting[token_ids].sum() == 1
        return "import time; time.sleep(0.05)" if is_first else None

    def ends_response(self, token_ids: np.ndarray, markup: Markup) -> bool:
        return False


def lengths() -> np.ndarray:
    """Tokens to sample of every rollout, the same for all systems."""
    spread = np.linspace(SHORTEST, LONGEST, PROBLEMS * ROLLOUTS).round().astype(int)
    return np.random.default_rng(0).permutation(spread)


def questions() -> list[str]:
    return [f"What is {i + 10} times {i * 7 % 90 + 10}?".ljust(PROMPT) for i in range(PROBLEMS)]


def make_requests(*, code: bool) -> list[RolloutRequest]:
    wanted = iter(lengths())
    return [
        RolloutRequest(
            Problem(str(i), question, ""),
            "code" if code and k % 2 else "text",
            k,
            max_tokens=int(next(wanted)) + (len(Bytes.output) if code and k % 2 else 0),
        )
        for i, question in enumerate(questions())
        for k in range(ROLLOUTS)
    ]


def trainer_logprobs(params: Any, config: ModelConfig, rows: list[np.ndarray]) -> list[np.ndarray]:
    """Of all tokens of each row, by full forward passes; ids that a sampler may not draw count."""
    score = jax.jit(lambda p, ids: scoring.token_logprobs(p, config, ids))
    found = []
    for at in range(0, len(rows), 64):
        batch = np.zeros((64, PROMPT + LONGEST + 8), np.int32)
        for row, ids in zip(batch, rows[at : at + 64], strict=False):
            row[: len(ids)] = ids
        scored = np.asarray(score(params, jnp.asarray(batch)))
        found += [s[: len(ids)] for s, ids in zip(scored, rows[at : at + 64], strict=False)]
    return found


class Ours:
    def __init__(
        self, params: Any, config: ModelConfig, slots: int, kv_cache: KvCache = "model"
    ) -> None:
        self.params = params
        sampling = SamplingConfig(
            slots=slots,
            max_length=PROMPT + LONGEST + 8,
            prefill_rows=16,
            prefill_buckets=(8, 32),
            page_size=64,
            kv_cache=kv_cache,
        )
        self.sampler = Sampler(config, sampling, Bytes(config.vocab_size), Markup(max_turns=1))
        processes.compile_all(params, self.sampler)

    def run(self, requests: list[RolloutRequest], executor: Executor | None = None, **sampling):
        drawn = SamplingParams(**sampling)
        return converse.converse(
            self.params, requests, self.sampler, executor, seed=0, iteration=0, sampling=drawn
        )

    def measure(self, score: Score) -> Measured:
        requests = make_requests(code=False)
        (episodes, stats), taken = timed(lambda: self.run(requests))
        worst = 0.0
        for episode, logprobs in zip(episodes, score([e.token_ids for e in episodes]), strict=True):
            ends = np.cumsum([len(segment.token_ids) for segment in episode.segments])
            for segment, theirs in zip(episode.segments, np.split(logprobs, ends), strict=False):
                if segment.logprobs is not None:
                    worst = max(worst, float(np.abs(segment.logprobs - theirs).max()))
        longer = dataclasses.replace(requests[0].problem, question="x" * 30)
        compiled = peer_samplers.schedule(
            lambda: self.run(requests[:40], temperature=0.9),
            lambda: self.run(requests[:40], top_p=0.9),
            lambda: self.run(requests[:6]),
            lambda: self.run([dataclasses.replace(requests[0], problem=longer)]),
        )
        return Measured(taken, stats.prefill_tokens, stats.device_s, worst, compiled)


class Waiting(Executor):
    """Programs that wait 50 ms and compute nothing, so that none competes for the cores."""

    def __init__(self) -> None:
        self.programs = 0

    def submit(self, code: str, timeout_s: float | None = None, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.programs += 1
        result = ExecutionResult(code, "", "", Status.OK, WAIT_S)
        threading.Timer(WAIT_S, lambda: future.set_result(result)).start()
        return future


def with_code(ours: Ours, repeats: int) -> rich.table.Table:
    """Useful tokens a second with programs in half of the rows, beside none, taken in turns."""

    def run(executor: Waiting | None) -> tuple[float, int, int]:
        requests = make_requests(code=executor is not None)
        (_, stats), taken = timed(lambda: ours.run(requests, executor))
        programs = 0 if executor is None else executor.programs
        return stats.sampled_tokens / taken.seconds, stats.prefill_tokens, programs

    found = bench.in_turns({"without": lambda: run(None), "with": lambda: run(Waiting())}, repeats)
    plain, coded = (float(np.median([rate for rate, *_ in some])) for some in found.values())
    _, prefill, programs = found["with"][-1]
    title = f"{programs} programs of {WAIT_S * 1e3:.0f} ms in half of the rows"
    table = bench.table(title, "", "tokens/s", "share", "prefill tokens")
    table.add_row("without code", f"{plain:,.0f}", "1.000", "")
    table.add_row("with code", f"{coded:,.0f}", f"{coded / plain:.3f}", f"{prefill:,}")
    return table


def roofline(params: Any, config: ModelConfig, bandwidth: float) -> rich.table.Table:
    """Share of the memory bandwidth that a decode step reaches: weights and keys read once."""
    weights = sum(x.nbytes for x in jax.tree.leaves(params))
    table = bench.table("decode against the memory bandwidth", "rows", "steps/s", "share")
    for rows in (1, 16, 64, 256):
        ours = Ours(params, config, rows)
        requests = [
            RolloutRequest(Problem(str(i), "x" * PROMPT, ""), "text", 0, max_tokens=LONGEST)
            for i in range(rows)
        ]
        ours.run(requests)
        (_, stats), taken = timed(functools.partial(ours.run, requests))
        kv = 2 * config.num_layers * config.num_kv_heads * config.head_dim
        kv *= jnp.dtype(config.dtype).itemsize * rows * (PROMPT + LONGEST / 2)
        rate = stats.steps / taken.seconds
        table.add_row(str(rows), f"{rate:.1f}", f"{rate * (weights + kv) / bandwidth:.3f}")
    return table


def compare(size: str, slots: int, repeats: int, console: rich.console.Console) -> None:
    params, config = make_model(size)
    count = sum(x.size for x in jax.tree.leaves(params))
    ours = Ours(params, config, slots)
    int8 = Ours(params, config, slots, "int8")
    systems: dict[str, Any] = {"acim_jax": ours, "acim_jax, int8 cache": int8}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        hf_export.save(model, params, config)
        for name, make in peer_samplers.MAKERS.items():
            try:
                systems[name] = make(model, config, questions(), lengths())
            except ImportError as error:
                console.print(f"{name} is left out: {error}")
        score = functools.partial(trainer_logprobs, params, config)
        measures = {
            name: functools.partial(system.measure, score) for name, system in systems.items()
        }
        found = bench.in_turns(measures, repeats)
    console.print(_table(f"{size}: {count / 1e6:.2f} M parameters, {slots} slots", found))
    console.print(with_code(ours, repeats))


def _table(title: str, found: dict[str, list[Measured]]) -> rich.table.Table:
    table = bench.table(
        title, "sampler", "tokens/s", "ours ×", "per CPU second", "ours ×", "compiled", "schedule",
        "prefill", "host wait s", "max |Δlogp|",
    )  # fmt: skip
    useful = int(lengths().sum())
    rates = {
        name: np.median([useful / np.array(m.timed[:2]) for m in some], axis=0)
        for name, some in found.items()
    }
    first = next(iter(rates.values()))
    for name, some in found.items():
        last, (wall, cpu), (times_wall, times_cpu) = some[-1], rates[name], first / rates[name]
        table.add_row(
            name,
            f"{wall:,.0f}",
            f"{times_wall:.2f}",
            f"{cpu:,.0f}",
            f"{times_cpu:.2f}",
            str(last.timed.compiled),
            last.schedule,
            f"{last.prefill:,}",
            "–" if last.wait is None else f"{last.wait:.2f}",
            "–" if last.worst is None else f"{last.worst:.1e}",
        )
    return table


def main() -> None:
    parser = bench.options(__doc__)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["0.5M"], help="model shapes")
    parser.add_argument("--slots", type=int, default=128, help="rows that decode at once")
    parser.add_argument("--repeats", type=int, default=3, help="timed turns; medians are shown")
    parser.add_argument("--code-only", action="store_true", help="only ours, with and without code")
    parser.add_argument(
        "--bandwidth", type=float, help="GB/s of the accelerator's memory: adds the roofline table"
    )
    args = parser.parse_args()
    console = rich.console.Console(width=140)
    for size in args.size:
        if args.code_only:
            console.print(with_code(Ours(*make_model(size), args.slots), args.repeats))
            continue
        compare(size, args.slots, args.repeats, console)
        if args.bandwidth:
            console.print(roofline(*make_model(size, "bfloat16"), args.bandwidth * 1e9))


if __name__ == "__main__":
    main()
