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

import argparse
import dataclasses
import functools
import tempfile
import threading
from collections.abc import Callable
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
from acim_jax.model.config import ModelConfig
from acim_jax.records import ExecutionResult, Problem, RolloutRequest, SamplingParams, Status
from acim_jax.rollout import converse, processes
from acim_jax.rollout.sampler import Sampler
from acim_jax.sampling.config import SamplingConfig
from scripts import peer_samplers
from scripts.peer_samplers import Measured, Score, timed

KvCache = Literal["model", "int8"]
WAIT_S = 0.05
PROBLEMS, ROLLOUTS, SHORTEST, LONGEST, PROMPT = 64, 8, 16, 256, 24
SIZES = {
    "0.5M": (640, 96, 256, 4, 4, 24),
    "5M": (2048, 256, 704, 6, 4, 64),
    "50M": (8192, 640, 1792, 9, 10, 64),
}


def make_config(size: str) -> ModelConfig:
    vocab, hidden, wide, layers, heads, head_dim = SIZES[size]
    return ModelConfig(vocab, hidden, wide, layers, heads, 2, head_dim, qkv_bias=True)


def make_params(config: ModelConfig) -> transformer.Params:
    return jax.jit(functools.partial(transformer.init, config))(jax.random.key(0))


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
        self.params, self.config = params, config
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
        return converse.converse(
            self.params,
            requests,
            self.sampler,
            executor,
            seed=0,
            iteration=0,
            sampling=SamplingParams(**sampling),
        )

    def measure(self, score: Score) -> Measured:
        (episodes, stats), wall, cpu, compiled = timed(lambda: self.run(make_requests(code=False)))
        scored = score([e.token_ids for e in episodes])
        worst = 0.0
        for episode, logprobs in zip(episodes, scored, strict=True):
            at = 0
            for segment in episode.segments:
                if segment.logprobs is not None:
                    theirs = logprobs[at : at + len(segment.logprobs)]
                    worst = max(worst, float(np.abs(segment.logprobs - theirs).max()))
                at += len(segment.token_ids)
        return Measured(
            wall, cpu, compiled, stats.prefill_tokens, stats.device_s, worst, self.vary()
        )

    def vary(self) -> str:
        """Functions compiled by: another temperature, truncation, a short batch, other lengths."""
        some = make_requests(code=False)
        longer = dataclasses.replace(some[0].problem, question="x" * 30)
        runs: list[Callable[[], Any]] = [
            lambda: self.run(some[:40], temperature=0.9),
            lambda: self.run(some[:40], top_p=0.9),
            lambda: self.run(some[:6]),
            lambda: self.run([dataclasses.replace(some[0], problem=longer)]),
        ]
        return ", ".join(str(timed(run)[3]) for run in runs)


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
    rates: dict[str, list[float]] = {"without code": [], "with code": []}
    programs = prefill = 0
    for _ in range(repeats):
        for name, found in rates.items():
            executor = Waiting() if name == "with code" else None
            requests = make_requests(code=executor is not None)
            (_, stats), wall, _, _ = timed(lambda r=requests, e=executor: ours.run(r, e))
            found.append(stats.sampled_tokens / wall)
            if executor is not None:
                programs, prefill = executor.programs, stats.prefill_tokens
    plain, coded = (float(np.median(found)) for found in rates.values())
    table = rich.table.Table(
        title=f"{programs} programs of {WAIT_S * 1e3:.0f} ms in half of the rows"
    )
    for name in ("", "tokens/s", "share", "prefill tokens"):
        table.add_column(name)
    table.add_row("without code", f"{plain:,.0f}", "1.000", "")
    table.add_row("with code", f"{coded:,.0f}", f"{coded / plain:.3f}", f"{prefill:,}")
    return table


def roofline(params: Any, config: ModelConfig, bandwidth: float) -> rich.table.Table:
    """Share of the memory bandwidth that a decode step reaches: weights and keys read once."""
    weights = sum(x.nbytes for x in jax.tree.leaves(params))
    table = rich.table.Table(title="decode against the memory bandwidth")
    for name in ("rows", "steps/s", "share"):
        table.add_column(name)
    for rows in (1, 16, 64, 256):
        ours = Ours(params, config, rows)
        requests = [
            RolloutRequest(Problem(str(i), "x" * PROMPT, ""), "text", 0, max_tokens=LONGEST)
            for i in range(rows)
        ]
        ours.run(requests)
        (_, stats), wall, _, _ = timed(lambda o=ours, r=requests: o.run(r))
        kv = 2 * config.num_layers * config.num_kv_heads * config.head_dim
        kv *= jnp.dtype(config.dtype).itemsize * rows * (PROMPT + LONGEST / 2)
        rate = stats.steps / wall
        table.add_row(str(rows), f"{rate:.1f}", f"{rate * (weights + kv) / bandwidth:.3f}")
    return table


def compare(size: str, slots: int, repeats: int, console: rich.console.Console) -> None:
    config = make_config(size)
    params = make_params(config)
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
        found: dict[str, list[Measured]] = {name: [] for name in systems}
        for turn in range(repeats + 1):  # the first turn warms up
            for name, system in systems.items():
                measured = system.measure(score=functools.partial(trainer_logprobs, params, config))
                if turn:
                    found[name].append(measured)
    console.print(_table(f"{size}: {count / 1e6:.2f} M parameters, {slots} slots", found))
    console.print(with_code(ours, repeats))


def _table(title: str, found: dict[str, list[Measured]]) -> rich.table.Table:
    table = rich.table.Table(title=title)
    columns = (
        "sampler", "tokens/s", "ours ×", "per CPU second", "ours ×", "compiled", "schedule",
        "prefill", "host wait s", "max |Δlogp|",
    )  # fmt: skip
    for name in columns:
        table.add_column(name)
    useful = int(lengths().sum())
    rates = {
        name: (
            float(np.median([useful / m.seconds for m in some])),
            float(np.median([useful / m.cpu_seconds for m in some])),
        )
        for name, some in found.items()
    }
    first = next(iter(rates.values()))
    for name, some in found.items():
        last, (wall, cpu) = some[-1], rates[name]
        table.add_row(
            name,
            f"{wall:,.0f}",
            f"{first[0] / wall:.2f}",
            f"{cpu:,.0f}",
            f"{first[1] / cpu:.2f}",
            str(last.compiled),
            last.schedule,
            f"{last.prefill:,}",
            "–" if last.wait is None else f"{last.wait:.2f}",
            "–" if last.worst is None else f"{last.worst:.1e}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
            config = make_config(size)
            params = make_params(config)
            console.print(with_code(Ours(params, config, args.slots), args.repeats))
            continue
        compare(size, args.slots, args.repeats, console)
        if args.bandwidth:
            config = dataclasses.replace(
                make_config(size), dtype="bfloat16", param_dtype="bfloat16"
            )
            params = make_params(config)
            console.print(roofline(params, config, args.bandwidth * 1e9))


if __name__ == "__main__":
    main()
