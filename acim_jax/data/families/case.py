"""What a problem family yields: a question, its answer, both ways to solve it, and what becomes of
the program under the executor's stated limits."""

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
    """One problem with its worked solutions.

    chain: the reasoning of the text decision, without the
    boxed answer. program: what a model would naturally write. outcome: what the executor returns
    for it under the limits of `docs/problems.md`, known from the numbers, not by running it.
    """

    chain: str
    program: str
    outcome: ExecutionResult


Drawn = TypeVar("Drawn", bound=Question)
#: Draws a problem of level 0, 1 or 2.
Family = Callable[[random.Random, int], Drawn]


def case(
    key: tuple[int | str, ...],
    question: str,
    answer: object,
    *,
    chain: str,
    program: str,
    outcome: ExecutionResult | None = None,
) -> Case:
    """A case whose program prints the answer, unless another `outcome` is given."""
    return Case(key, question, str(answer), chain, program, outcome or printed(program, answer))


def printed(program: str, value: object) -> ExecutionResult:
    """The program ends normally after printing `value`."""
    return ExecutionResult(program, f"{value}\n", "", Status.OK, 0.0)


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
