"""Families in which code can always be right and mental arithmetic fails.

At level 0 the numbers are small enough for both decisions. At levels 1 and 2 the chain needs
products, quotients and sums that a small model does not get right without writing them out. Each
has a program that fails whatever the numbers are: its value is never printed, or it imports a
module that the executor does not offer.
"""

import itertools
import random

from acim_jax.data.families.case import (
    Case,
    case,
    missing_module,
    printed,
    printed_or_not,
    with_digits,
)

MAX_EUCLID_STEPS = 4


def mul(rng: random.Random, level: int) -> Case:
    """Products: small times table with zeros (0), 2-3 by 2 digits (1), 3-4 by 3 digits (2)."""
    if level == 0:
        a, b = (rng.randint(2, top) * 10 ** rng.randint(0, 1) for top in (5, 9))
    else:
        a, b = with_digits(rng, level + rng.choice((1, 2))), with_digits(rng, level + 1)
    question = rng.choice(
        (f"What is {a} * {b}?", f"Compute {a} * {b}.", f"Find the product of {a} and {b}.")
    )
    low, high = sorted((a, b))
    programs = printed_or_not(f"{a}*{b}", a * b)
    return case((low, high), question, a * b, chain=f"{a}*{b}={a * b}.", programs=programs)


def mod(rng: random.Random, level: int) -> Case:
    """Remainders: 2 digits by 2, 5 or 10 (0), 3 digits by 4..12 (1), 5 digits by 2 digits (2)."""
    match level:
        case 0:
            a, m = with_digits(rng, 2), rng.choice((2, 5, 10))
        case 1:
            a, m = with_digits(rng, 3), rng.randint(4, 12)
        case _:
            a, m = with_digits(rng, 5), with_digits(rng, 2)
    question = rng.choice(
        (f"What is {a} mod {m}?", f"Find the remainder when {a} is divided by {m}.")
    )
    chain = f"{a}={m}*{a // m}+{a % m}."
    return case((a, m), question, a % m, chain=chain, programs=printed_or_not(f"{a}%{m}", a % m))


def gcd(rng: random.Random, level: int) -> Case:
    """Greatest common divisors that Euclid's algorithm finds in at most four steps."""
    largest_divisor, largest_cofactor = ((12, 4), (9, 12), (20, 60))[level]
    while True:
        divisor = rng.randint(2, largest_divisor)
        a, b = (divisor * rng.randint(1, largest_cofactor) for _ in range(2))
        steps: list[str] = []
        x, y = a, b
        while y:
            steps.append(f"{x} mod {y}={x % y}")
            x, y = y, x % y
        if len(steps) <= MAX_EUCLID_STEPS:
            break
    question = rng.choice(
        (f"What is gcd({a}, {b})?", f"Find the greatest common divisor of {a} and {b}.")
    )
    low, high = sorted((a, b))
    chain = ", ".join(steps) + "."
    programs = (
        missing_module(f"import gmpy2\nprint(gmpy2.gcd({a},{b}))", "gmpy2"),
        printed(f"import math\nprint(math.gcd({a},{b}))", x),
    )
    return case((low, high), question, x, chain=chain, programs=programs, hasty=True)


def sumlist(rng: random.Random, level: int) -> Case:
    """Sums of 3 one-digit (0), 4 two-digit (1) or 4 three-digit (2) numbers; running totals."""
    count, num_digits = ((3, 1), (4, 2), (4, 3))[level]
    terms = [with_digits(rng, num_digits) for _ in range(count)]
    totals = list(itertools.accumulate(terms))
    listed = ", ".join(map(str, terms))
    question = rng.choice((f"Find the sum of {listed}.", f"Add up {listed}."))
    array = f"[{','.join(map(str, terms))}]"
    programs = (
        missing_module(f"import pandas as pd\nprint(pd.Series({array}).sum())", "pandas"),
        printed(f"print(sum({array}))", totals[-1]),
    )
    return case(
        tuple(sorted(terms)),
        question,
        totals[-1],
        chain=", ".join(map(str, totals)) + ".",
        programs=programs,
        hasty=True,
    )
