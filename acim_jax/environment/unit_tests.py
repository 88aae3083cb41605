"""Rewards of code problems: the share of unit tests that a candidate program passes.

Every test is a program of its own: set-up, candidate, test, and a line that prints a random word.
A test is passed when the program ends well and that word is its last line, so ending early with
exit code 0 passes nothing. Not covered: a candidate that reads its own source to find the word, or
that patches what the test compares with.
"""

import re
import secrets
from collections.abc import Sequence

from acim_jax.environment.executor import Executor
from acim_jax.markup import Markup
from acim_jax.records import ExecutionResult, Problem, Status

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\r?\n(.*?)```", re.DOTALL)


def candidate(response: str, markup: Markup) -> str | None:
    """The last complete program of a response, in the markup's fences or in Markdown's."""
    own = re.compile(
        re.escape(markup.code_open) + r"(.*?)" + re.escape(markup.code_close), re.DOTALL
    )
    found = own.findall(response) or _FENCED.findall(response)
    return found[-1] if found else None


def programs(code: str, problem: Problem, word: str) -> list[str]:
    """One program per test of `problem`; each prints `word` last if its test passes.

    A candidate that lacks the entry point is taken as the body that continues the question. A test
    that defines `check(candidate)` is called with the entry point, as HumanEval's are.
    """
    name = problem.entry_point
    if name and not re.search(rf"\bdef\s+{re.escape(name)}\b", code):
        code = f"{problem.question}\n{code}"
    result: list[str] = []
    for test in problem.tests:
        call = f"check({name})" if name and re.search(r"^def check\(", test, re.MULTILINE) else ""
        parts = (problem.test_setup, code, test, call, f"print('\\n{word}')")
        result.append("\n".join(part for part in parts if part))
    return result


def score(code: str, problem: Problem, executor: Executor) -> float:
    """The share of the problem's tests that the program `code` passes."""
    return score_all([(code, problem)], executor)[0]


def score_all(pairs: Sequence[tuple[str | None, Problem]], executor: Executor) -> list[float]:
    """`score` for many candidates, whose tests run side by side; None, no program, scores 0."""
    word = secrets.token_hex(16)
    futures = [
        [executor.submit(program) for program in programs(code, problem, word)]
        if code is not None
        else []
        for code, problem in pairs
    ]
    return [_share_passed([one.result() for one in group], word) for group in futures]


def _share_passed(results: Sequence[ExecutionResult], word: str) -> float:
    passed = [
        result.status is Status.OK and result.stdout.rstrip("\n").endswith(f"\n{word}")
        for result in results
    ]
    return sum(passed) / len(passed) if passed else 0.0
