"""Programs per second and latency of the executor, compared with alternatives.

    python scripts/bench_executor.py [--workers 2] [--check]

In one run, on distinct programs: this executor with the protection that the host offers; a fresh
interpreter per program; and, if it is installed (`pip install pebble`), a pebble pool with plain
`exec`, which many trainers use. --check exits 1 below the rates of docs/executor.md, which are for
two idle cores.
"""

import contextlib
import importlib
import io
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import rich

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.measurements import quantile
from scripts import bench

TRIVIAL = "print({i} * 7)"
#: No two have the same answer, so that no cache of sympy's helps.
SOLVE = "import sympy\nx = sympy.Symbol('x')\nprint(sympy.solve(x**2 - {i}*x + 2, x))"
#: A fresh interpreter must import what a server holds ready.
FRESH_TRIVIAL = "import sympy\n" + TRIVIAL


class System(NamedTuple):
    """What runs programs. counts: how many trivial ones, and how many that solve, a repetition."""

    name: str
    run: Callable[[Sequence[str]], Any]
    counts: tuple[int, int]
    trivial: str = TRIVIAL


def systems(executor: Executor, workers: int) -> Iterator[System]:
    """One after another; pebble's pool is open as long as its turn lasts."""

    def run_fresh(codes: Sequence[str]) -> None:
        def one(code: str) -> None:
            subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, codes))

    yield System("this executor", executor.run, (200, 16 * workers))
    few = (2 * workers, 2 * workers)
    yield System("a fresh interpreter that imports sympy", run_fresh, few, FRESH_TRIVIAL)
    try:
        pebble = importlib.import_module("pebble")
    except ImportError:
        print("pebble is not installed: its row is left out")
        return
    with pebble.ProcessPool(max_workers=workers) as pool:

        def run_pool(codes: Sequence[str]) -> None:
            for future in [pool.schedule(_exec, args=[code]) for code in codes]:
                future.result()

        yield System("pebble, plain exec", run_pool, (200, 32))


def _exec(code: str) -> str:
    """What a pool's worker does with a program: no limits, no isolation, the result pickled."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    return out.getvalue()


def rates(system: System, workers: int, repetitions: int) -> tuple[list[float], list[float]]:
    """Programs per second of each repetition, trivial ones and ones that solve; all differ."""

    def repeated(program: str, count: int, start: int) -> list[float]:
        found: list[float] = []
        for first in range(start, start + repetitions * count, count):
            codes = [program.format(i=i) for i in range(first, first + count)]
            found.append(count / bench.seconds(lambda codes=codes: system.run(codes)))
        return found

    system.run([SOLVE.format(i=i) for i in range(3, 3 + 2 * workers)])  # all are ready
    trivial, solving = system.counts
    return repeated(system.trivial, trivial, 0), repeated(SOLVE, solving, 1000)


def latencies(executor: Executor, count: int) -> list[float]:
    """Seconds of trivial programs, one after another."""
    codes = [TRIVIAL.format(i=10**6 + i) for i in range(count)]
    return [bench.seconds(lambda code=code: executor.submit(code).result()) for code in codes]


def measure(executor: Executor, workers: int, repetitions: int) -> bool:
    """Prints the table; whether all bars are met."""
    table = bench.table("programs per second, best (median)", "", "trivial", "sympy.solve")
    medians: list[list[float]] = []
    for system in systems(executor, workers):
        found = rates(system, workers, repetitions)
        medians.append([statistics.median(some) for some in found])
        best = [max(some) for some in found]
        cells = [f"{b:.1f} ({m:.1f})" for b, m in zip(best, medians[-1], strict=True)]
        table.add_row(system.name, *cells)
    waits = latencies(executor, 200)
    rich.print(table)
    p50, p95 = quantile(waits, 0.50), quantile(waits, 0.95)
    print(f"trivial, one at a time: median {p50 * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms")
    (trivial, solve), (fresh_trivial, fresh_solve) = medians[:2]
    times_trivial, times_solve = trivial / fresh_trivial, solve / fresh_solve
    print(f"against a fresh interpreter: {times_trivial:.0f} times, solve {times_solve:.1f} times")
    bars = {
        "at least 250 trivial programs/s": trivial >= 250,
        "at least 12 sympy.solve programs/s": solve >= 12,
        "p95 of a trivial program at most 20 ms": p95 <= 0.020,
        "10 times a fresh interpreter, trivial": times_trivial >= 10,
        "4 times a fresh interpreter, solve": times_solve >= 4,
    }
    for bar, held in bars.items():
        print(f"{'met  ' if held else 'SHORT'} {bar}")
    return all(bars.values())


def main() -> int:
    parser = bench.options(__doc__)
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--check", action="store_true", help="exit 1 below the bars")
    args = parser.parse_args()
    with Executor(ExecutorConfig(workers=args.workers)) as executor:
        protection, load = executor.capabilities()["protection"], os.getloadavg()[0]
        print(f"protection: {protection}; {args.workers} workers; load {load:.1f}")
        met = measure(executor, args.workers, args.repetitions)
    return 0 if met or not args.check else 1


if __name__ == "__main__":
    sys.exit(main())
