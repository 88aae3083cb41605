"""Answers are recomputed from the question's words alone, chains are parsed and checked step by
step; nothing here asks the families how they count."""

import itertools
import re
from fractions import Fraction

import pytest

from acim_jax.data import generated
from acim_jax.data.families import ARITHMETIC, Case

SMALLER_UNITS = {"km": 1_000_000, "m": 1_000, "cm": 10, "mm": 1} | {"l": 1_000, "ml": 1}
SMALLER_UNITS |= {"t": 1_000_000, "kg": 1_000, "g": 1}


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[tuple[int, Case]]]:
    by_family: dict[str, list[tuple[int, Case]]] = {name: [] for name in ARITHMETIC}
    for family, level, case in generated.cases("train", 4000, seed=11):
        by_family[family].append((level, case))
    return by_family


def numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def solve(family: str, question: str) -> str:
    """The answer by brute force, or by another road than the family's where that is too long."""
    values = numbers(question)
    match family:
        case "mul":
            return str(sum(values[0] for _ in range(values[1])))
        case "mod":
            dividend, divisor = values
            return str(next(r for r in range(divisor) if (dividend - r) % divisor == 0))
        case "gcd":
            a, b = values
            return str(max(d for d in range(1, min(a, b) + 1) if a % d == b % d == 0))
        case "sumlist":
            columns = itertools.zip_longest(*(reversed(str(v)) for v in values), fillvalue="0")
            return str(sum(10**i * sum(map(int, column)) for i, column in enumerate(columns)))
        case "word":
            return str(story(question, values))
        case "lastdigit":
            base, exponent = values
            return str(base ** (exponent % 20 + 20))[-1]  # φ(25) = 20 and 2^20 ≥ 2
        case "oddsum":
            (count,) = values
            if count < 1000:
                return str(sum(n for n in range(2 * count) if n % 2))
            return str(count * (1 + (2 * count - 1)) // 2)  # first and last term of the series
        case "multiples":
            d, n = (values[0], values[-1])
            if n < 1000:
                return str(len(range(d, n + 1, d)))
            return str((n - n % d - d) // d + 1)
        case "division":
            d, n = values if question.startswith("How") else reversed(values)
            quotient, remainder = divmod(Fraction(n), d)
            assert remainder == 0
            return str(quotient)
        case "order":
            return tallest_or_shortest(question)
        case _:
            found = re.search(r"Convert ([\d.]+) (\w+) to (\w+)", question)
            if found:
                amount, large, small = found.groups()
            else:
                found = re.search(r"How many (\w+) are ([\d.]+) (\w+)", question)
                assert found
                small, amount, large = found.groups()
            return str(Fraction(amount) * SMALLER_UNITS[large] / SMALLER_UNITS[small])


def story(question: str, values: list[int]) -> int:
    first, second = values
    if "buys" in question:
        return first + second
    return first - second if "gives away" in question else first * second


def tallest_or_shortest(question: str) -> str:
    facts = re.findall(r"(\w+) is taller than (\w+)", question)
    names = sorted({name for fact in facts for name in fact})
    orders = [
        order
        for order in itertools.permutations(names)
        if all(order.index(tall) < order.index(short) for tall, short in facts)
    ]
    assert len(orders) == 1, "the facts must leave one order"
    return orders[0][0 if "tallest" in question else -1]


@pytest.mark.parametrize("family", ARITHMETIC)
def test_answers_are_right(family: str, drawn: dict[str, list[tuple[int, Case]]]) -> None:
    assert len(drawn[family]) > 200
    for _, case in drawn[family]:
        assert case.answer == solve(family, case.question), case.question


@pytest.mark.parametrize("family", ARITHMETIC)
def test_chains_hold_step_by_step(family: str, drawn: dict[str, list[tuple[int, Case]]]) -> None:
    for _, case in drawn[family]:
        chain = worked(case)
        steps = equations(chain)
        for left, right in steps:
            assert left == right, chain
        if family == "sumlist":
            terms, totals = numbers(case.question), numbers(chain)
            differences = [b - a for a, b in itertools.pairwise([0, *totals])]
            assert differences == terms
        elif family == "order":
            names = chain.rstrip(".").split(">")
            assert case.answer == names[0 if "tallest" in case.question else -1]
        elif family == "lastdigit":
            digit, parity, base, same, last = re.findall(r"\d|odd|even", chain)
            assert digit == re.findall(r"\d", case.question)[-1] and parity == same
            powers = {str(int(base) ** n)[-1] for n in range(2 + (parity == "odd"), 40, 2)}
            assert powers == {last} and (int(digit) % 2 == 1) == (parity == "odd")
        else:
            assert steps, chain


def worked(case: Case) -> str:
    """The chain of a case; its other way of text is none at all."""
    assert sorted(map(bool, case.chains)) == [False, True]
    return max(case.chains)


def equations(chain: str) -> list[tuple[Fraction, Fraction]]:
    """Both sides of every `a op b = c` (op one of * + - / ^ mod, or * followed by +)."""
    term = r"(\d+(?:\.\d+)?)"
    sides = []
    for found in re.finditer(rf"{term}=(\d+)\*(\d+)\+(\d+)", chain):
        left, factor, times, rest = map(Fraction, found.groups())
        sides.append((left, factor * times + rest))
        chain = chain.replace(found.group(), "")
    for found in re.finditer(rf"{term} ?(\*|\+|-|/|\^|mod) ?{term}=(\d+)", chain):
        a, operation, b, right = found.groups()
        x, y = Fraction(a), Fraction(b)
        value = {
            "*": lambda x, y: x * y,
            "+": lambda x, y: x + y,
            "-": lambda x, y: x - y,
            "/": lambda x, y: x / y,
            "^": lambda x, y: x ** int(y),
            "mod": lambda x, y: x % y,
        }[operation](x, y)
        sides.append((value, Fraction(right)))
    return sides


def test_zeros_named_in_a_chain_are_those_of_the_answer(
    drawn: dict[str, list[tuple[int, Case]]],
) -> None:
    for family in ("oddsum", "multiples", "division"):
        levels = set()
        for level, case in drawn[family]:
            found = re.search(r"(\d+), (?:\d+\+\d+=)?(\d+) zeros(?:, \d+/\d+=(\d+))?", worked(case))
            if found:
                head, zeros, tail = found.groups(default="")
                assert case.answer == head + "0" * int(zeros) + tail, case.question
                levels.add(level)
        assert {1, 2} <= levels


def test_programs_speak_of_the_question(drawn: dict[str, list[tuple[int, Case]]]) -> None:
    """The numbers (names) a program uses stand in the question: it solves this very problem."""
    for family, pairs in drawn.items():
        for _, case in pairs:
            asked = set(re.findall(r"[\d.]*\d|[A-Z][a-z]{2}\b", case.question))
            constants = {
                "gcd": {"2"},  # of gmpy2
                "lastdigit": {"10"},
                "oddsum": {"2", "1"},
                "multiples": {"1", "0"},
                "order": {"0", "1"},
            }.get(family, set())
            for program in case.programs:
                used = set(re.findall(r"[\d.]*\d|(?<=')[A-Z][a-z]{2}(?=')", program.code))
                assert used - constants, program.code
                assert used - constants <= asked, program.code


#: Whether the first and the second way of code are right, by level; one entry if there is one way.
RIGHT = {
    **dict.fromkeys(("mul", "mod", "word"), ((True, False),) * 3),
    **dict.fromkeys(("gcd", "sumlist"), ((False, True),) * 3),
    **dict.fromkeys(("lastdigit", "division"), ((True, True), (False, True), (False, True))),
    **dict.fromkeys(("oddsum", "multiples"), ((True,), (False,), (False,))),
    **dict.fromkeys(("order", "units"), ((False,),) * 3),
}


def test_which_programs_are_right(drawn: dict[str, list[tuple[int, Case]]]) -> None:
    """Neither program depends on luck: what is right is so for a whole family and level."""
    assert RIGHT.keys() == drawn.keys()
    for family, pairs in drawn.items():
        for level, case in pairs:
            right = tuple(p.stdout.strip() == case.answer for p in case.programs)
            assert right == RIGHT[family][level], (family, level, case.programs)
