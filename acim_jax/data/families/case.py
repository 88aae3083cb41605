"""What a problem family yields: a question, its answer, the ways in which either decision solves
it, and what becomes of the programs under the executor's stated limits."""

import dataclasses
import random
from collections.abc import Callable
from typing import TypeVar

from acim_jax.records import ExecutionResult, Status


@dataclasses.dataclass(frozen=True)
class Question:
    """One problem. key: the numbers (or names) that identify it, whatever the wording, in a
    canonical order; a hash of it decides the split."""

    key: tuple[int | str, ...]
    question: str
    answer: str


@dataclasses.dataclass(frozen=True)
class Case(Question):
    """One problem with its worked solutions, those that are shown more often first.

    chains: the reasoning of the text decision, without the boxed answer; "" gives it at once.
    programs: what models naturally write, with what the executor returns for it under the limits
    of `docs/problems.md`, known from the numbers, not by running it.
    """

    chains: tuple[str, ...]
    programs: tuple[ExecutionResult, ...]


#: Of the demonstrations, so many show the first of two ways.
FIRST_SHARE = 0.6

Drawn = TypeVar("Drawn", bound=Question)
#: Draws a problem of level 0, 1 or 2.
Family = Callable[[random.Random, int], Drawn]


def case(
    key: tuple[int | str, ...],
    question: str,
    answer: object,
    *,
    chain: str,
    programs: tuple[ExecutionResult, ...],
    hasty: bool = False,
) -> Case:
    """A case with the text ways `chain` and "at once". hasty: the latter is shown more often."""
    chains = ("", chain) if hasty else (chain, "")
    return Case(key, question, str(answer), chains, programs)


def printed(program: str, value: object) -> ExecutionResult:
    """The program ends normally after printing `value`."""
    return ExecutionResult(program, f"{value}\n", "", Status.OK, 0.0)


def printed_or_not(expression: str, value: object) -> tuple[ExecutionResult, ExecutionResult]:
    """The program prints the value, or keeps it in a variable, which nobody sees."""
    unseen = f"x={expression}"
    silent = ExecutionResult(unseen, "", "", Status.OK, 0.0)
    return printed(f"print({expression})", value), silent


def timed_out(program: str) -> ExecutionResult:
    """The program exceeds the executor's CPU time before it prints anything."""
    return ExecutionResult(program, "", "", Status.TIMEOUT, 0.0)


def missing_module(program: str, module: str) -> ExecutionResult:
    """The program's first line imports a module that the executor does not offer."""
    stderr = f"""  File "<program>", line 1, in <module>
ModuleNotFoundError: No module named '{module}'
"""
    return ExecutionResult(program, "", stderr, Status.ERROR, 0.0)


def with_digits(rng: random.Random, count: int) -> int:
    """A number of `count` decimal digits, the first one not 0."""
    return rng.randint(10 ** (count - 1), 10**count - 1)
