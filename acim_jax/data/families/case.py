"""What a problem family yields: a question, its answer, both ways to solve it, and what becomes of
the program under the executor's stated limits."""

import dataclasses
import random
from collections.abc import Callable

from acim_jax.records import ExecutionResult, Status


@dataclasses.dataclass(frozen=True)
class Case:
    """One problem with its worked solutions.

    key: the numbers (or names) that make the problem what it is, in a canonical order, without the
        wording; a hash of it decides the split. chain: the reasoning of the text decision, without
        the boxed answer. program: what a learner would write. outcome: what the executor says to
        it under the limits of `docs/problems.md`, known from the numbers, not by running it.
    """

    key: tuple[int | str, ...]
    question: str
    answer: str
    chain: str
    program: str
    outcome: ExecutionResult


#: Draws a case of level 0, 1 or 2.
Family = Callable[[random.Random, int], Case]


def printed(program: str, value: object) -> ExecutionResult:
    """The program ends normally after printing `value`."""
    return ExecutionResult(program, f"{value}\n", "", Status.OK, 0.0)


def timed_out(program: str) -> ExecutionResult:
    """The program needs more CPU time than the executor gives, and prints nothing before that."""
    return ExecutionResult(program, "", "", Status.TIMEOUT, 0.0)


def missing_module(program: str, module: str) -> ExecutionResult:
    """The program's first line imports a module that is not on the executor's list."""
    remark = f"""  File "<program>", line 1, in <module>
ModuleNotFoundError: No module named '{module}'
"""
    return ExecutionResult(program, "", remark, Status.ERROR, 0.0)


def with_digits(rng: random.Random, count: int) -> int:
    """A number of `count` decimal digits, the first one not 0."""
    return rng.randint(10 ** (count - 1), 10**count - 1)
