"""What the benchmarks share: options, a clock, runs in turns, tables. No jax in here."""

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import rich.table

T = TypeVar("T")


def options(document: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a script's docstring as it stands."""
    return argparse.ArgumentParser(
        description=document, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def seconds(call: Callable[[], Any]) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turns(calls: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What the calls return: all in turns, so that a busy machine slows all of them, and every
    other round in reverse. A first round, which compiles and fills caches, is not kept."""
    for call in calls.values():
        call()
    found: dict[str, list[T]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name in reversed(found) if turn % 2 else found:
            found[name].append(calls[name]())
    return found


def table(title: str, first: str, *columns: str) -> rich.table.Table:
    """A table without rows: names in the first column, figures in the others."""
    made = rich.table.Table(first, title=title)
    for name in columns:
        made.add_column(name, justify="right")
    return made
