"""`generated:numbers`: every answer worked out again from the question's words, by sympy."""

import collections
import math
import re
from collections.abc import Callable

import pytest
import sympy

from acim_jax.data import generated
from acim_jax.records import Problem

SAMPLE = 600


def numbers_in(question: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", question)]


def expression(question: str) -> int:
    words = question.removeprefix("Evaluate ").removesuffix(".")
    return int(sympy.sympify(words))


def divisors(question: str) -> int:
    (n,) = numbers_in(question)
    return int(sympy.divisor_sigma(n, 1 if "sum" in question else 0))


def divisible(question: str) -> int:
    n, a, b, c = numbers_in(question)[1:]

    def multiples(m: int) -> int:
        return n // m

    a_or_b = multiples(a) + multiples(b) - multiples(math.lcm(a, b))
    with_c = [multiples(math.lcm(m, c)) for m in (a, b, math.lcm(a, b))]
    return a_or_b - (with_c[0] + with_c[1] - with_c[2])


def committee(question: str) -> int:
    women, men, w, m = numbers_in(question)
    return int(sympy.binomial(women, w) * sympy.binomial(men, m))


def prime_count(question: str) -> int:
    first, last = numbers_in(question)
    return len([*sympy.primerange(first, last + 1)])


def digit_sum(question: str) -> int:
    base, exponent = numbers_in(question)
    return int(sum(sympy.Integer(base) ** exponent // 10**k % 10 for k in range(200)))


SOLVE: dict[str, Callable[[str], int]] = {
    "product": lambda q: int(sympy.prod(numbers_in(q))),
    "expression": expression,
    "power_mod": lambda q: int(sympy.Mod(numbers_in(q)[0] ** numbers_in(q)[1], numbers_in(q)[2])),
    "multiple": lambda q: int(sympy.lcm_list(numbers_in(q))),
    "primes": prime_count,
    "divisors": divisors,
    "divisible": divisible,
    "committee": committee,
    "digit_sum": digit_sum,
}


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return generated.generate("train", SAMPLE, seed=3, name="numbers")


def test_every_answer_is_right(problems: list[Problem]) -> None:
    for problem in problems:
        assert int(problem.answer) == SOLVE[problem.subject](problem.question), problem


def test_all_families_and_levels_are_drawn(problems: list[Problem]) -> None:
    strata = collections.Counter(problem.stratum for problem in problems)
    assert strata.keys() == {f"{family}/{level}" for family in SOLVE for level in (0, 1, 2)}
    assert {problem.source for problem in problems} == {"generated:numbers"}


def test_splits_share_no_numbers(problems: list[Problem]) -> None:
    test = generated.generate("test", SAMPLE, seed=3, name="numbers")
    assert not {substance(p) for p in problems} & {substance(p) for p in test}


def substance(problem: Problem) -> object:
    """What a problem is about, in whatever order it names it."""
    numbers = numbers_in(problem.question)
    match problem.subject:
        case "product":
            return "product", *sorted(numbers)
        case "committee":
            women, men, w, m = numbers
            return "committee", *sorted([(women, w), (men, m)])
        case "divisible":
            n, a, b, c = numbers[1:]
            return "divisible", n, *sorted([a, b]), c
        case _:
            return problem.subject, *numbers


def test_there_are_no_demonstrations() -> None:
    with pytest.raises(ValueError, match="demonstrations are arithmetic"):
        generated.checked_count("generated:numbers", 4, "demonstrations")
    with pytest.raises(ValueError, match="problems are arithmetic and numbers"):
        generated.checked_count("generated:algebra", 4, "problems")
