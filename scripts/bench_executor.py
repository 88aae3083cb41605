"""Programs per second and latency of the executor, compared with alternatives.

    python scripts/bench_executor.py [--workers 2] [--check]

In one run, on distinct programs: this executor with the protection that the host offers; a fresh
interpreter per program; and, if it is installed (`pip install pebble`), a pebble pool with plain
`exec`, which many trainers use. --check exits 1 below the rates of docs/executor.md, which are for
two idle cores.
"""

import argparse
import contextlib
import importlib
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.measurements import quantile

TRIVIAL = "print({i} * 7)"
#: No two have the same answer, so that no cache of sympy's helps.
SOLVE = "import sympy\nx = sympy.Symbol('x')\nprint(sympy.solve(x**2 - {i}*x + 2, x))"
#: A fresh interpreter must import what a server holds ready.
FRESH_TRIVIAL = "import sympy\n" + TRIVIAL

Run = Callable[[Sequence[str]], Any]


class Rate(NamedTuple):
    """Programs per second of the best and the median of the repetitions."""

    best: float
    median: float


def rate(run: Run, program: str, count: int, repetitions: int, start: int) -> Rate:
    """start: the first number that is put into `program`; no two programs are the same."""
    rates: list[float] = []
    for repetition in range(repetitions):
        first = start + repetition * count
        codes = [program.format(i=i) for i in range(first, first + count)]
        begin = time.perf_counter()
        run(codes)
        rates.append(count / (time.perf_counter() - begin))
    return Rate(max(rates), statistics.median(rates))


def latencies(executor: Executor, count: int) -> list[float]:
    """Seconds of trivial programs, one after another, sorted."""
    found: list[float] = []
    for i in range(count):
        begin = time.perf_counter()
        executor.submit(TRIVIAL.format(i=10**6 + i)).result()
        found.append(time.perf_counter() - begin)
    return sorted(found)


def run_fresh(codes: Sequence[str], workers: int) -> None:
    """A fresh interpreter per program, `workers` at once."""
    waiting = list(codes)
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < workers:
            command = [sys.executable, "-c", waiting.pop()]
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        running.pop(0).wait()


def _exec(code: str) -> str:
    """What a pool's worker does with a program: no limits, no isolation, the result pickled."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    return out.getvalue()


@contextlib.contextmanager
def pebble_pool(workers: int):
    """A function that runs programs in a pebble pool; None if pebble is not installed."""
    try:
        pebble = importlib.import_module("pebble")
    except ImportError:
        yield None
        return
    with pebble.ProcessPool(max_workers=workers) as pool:
        yield lambda codes: [f.result() for f in [pool.schedule(_exec, args=[c]) for c in codes]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--check", action="store_true", help="exit 1 below the bars")
    args = parser.parse_args()
    with Executor(ExecutorConfig(workers=args.workers)) as executor:
        print(
            f"protection: {executor.capabilities()['protection']}; {args.workers} workers; ", end=""
        )
        print(f"load {os.getloadavg()[0]:.1f}")
        met = measure(executor, args.workers, args.repetitions)
    return 0 if met or not args.check else 1


def measure(executor: Executor, workers: int, repetitions: int) -> bool:
    """Prints the table; whether all bars are met."""
    executor.run([SOLVE.format(i=i) for i in range(3, 3 + 2 * workers)])  # servers are ready
    fresh: Run = lambda codes: run_fresh(codes, workers)  # noqa: E731
    ours_trivial = rate(executor.run, TRIVIAL, 200, repetitions, 0)
    fresh_trivial = rate(fresh, FRESH_TRIVIAL, 2 * workers, repetitions, 0)
    ours_solve = rate(executor.run, SOLVE, 16 * workers, repetitions, 1000)
    fresh_solve = rate(fresh, SOLVE, 2 * workers, repetitions, 1000)
    waits = latencies(executor, 200)
    p50, p95 = quantile(waits, 0.50) or 0.0, quantile(waits, 0.95) or 0.0
    print(f"{'programs per second, best (median)':40s} {'trivial':>16s} {'sympy.solve':>16s}")
    _print_line("this executor", ours_trivial, ours_solve)
    _print_line("a fresh interpreter that imports sympy", fresh_trivial, fresh_solve)
    with pebble_pool(workers) as run:
        if run is None:
            print("pebble is not installed: its row is left out")
        else:
            run([SOLVE.format(i=i) for i in range(3, 3 + 2 * workers)])
            trivial = rate(run, TRIVIAL, 200, repetitions, 0)
            _print_line("pebble, plain exec", trivial, rate(run, SOLVE, 32, repetitions, 1000))
    print(f"trivial, one at a time: median {p50 * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms")
    ratios = (ours_trivial.median / fresh_trivial.median, ours_solve.median / fresh_solve.median)
    print(f"against a fresh interpreter: {ratios[0]:.0f} times, solve {ratios[1]:.1f} times")
    bars = {
        "at least 250 trivial programs/s": ours_trivial.median >= 250,
        "at least 12 sympy.solve programs/s": ours_solve.median >= 12,
        "p95 of a trivial program at most 20 ms": p95 <= 0.020,
        "10 times a fresh interpreter, trivial": ratios[0] >= 10,
        "4 times a fresh interpreter, solve": ratios[1] >= 4,
    }
    for bar, held in bars.items():
        print(f"{'met  ' if held else 'SHORT'} {bar}")
    return all(bars.values())


def _print_line(name: str, trivial: Rate, solve: Rate) -> None:
    cells = [f"{r.best:.1f} ({r.median:.1f})" for r in (trivial, solve)]
    print(f"{name:40s} {cells[0]:>16s} {cells[1]:>16s}")


if __name__ == "__main__":
    sys.exit(main())
