"""Families in which the program is always right and only mental arithmetic can fail.

Level 0 is small enough for both decisions; at levels 1 and 2 the chain asks for products,
quotients and sums that a small model does not get right without writing them out.
"""

import random

from acim_jax.data.families.case import Case, printed, with_digits

MAX_EUCLID_STEPS = 4


def mul(rng: random.Random, level: int) -> Case:
    """Products: small times table with zeros (0), 2-3 by 2 digits (1), 3-4 by 3 digits (2)."""
    match level:
        case 0:
            a, b = (rng.randint(2, top) * 10 ** rng.randint(0, 1) for top in (5, 9))
        case 1:
            a, b = with_digits(rng, rng.choice((2, 3))), with_digits(rng, 2)
        case _:
            a, b = with_digits(rng, rng.choice((3, 4))), with_digits(rng, 3)
    question = rng.choice(
        (f"What is {a} * {b}?", f"Compute {a} * {b}.", f"Find the product of {a} and {b}.")
    )
    program = f"print({a}*{b})"
    low, high = sorted((a, b))
    return Case(
        key=(low, high),
        question=question,
        answer=str(a * b),
        chain=f"{a}*{b}={a * b}.",
        program=program,
        outcome=printed(program, a * b),
    )


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
    program = f"print({a}%{m})"
    return Case(
        key=(a, m),
        question=question,
        answer=str(a % m),
        chain=f"{a}={m}*{a // m}+{a % m}.",
        program=program,
        outcome=printed(program, a % m),
    )


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
    program = f"import math\nprint(math.gcd({a},{b}))"
    low, high = sorted((a, b))
    return Case(
        key=(low, high),
        question=question,
        answer=str(x),
        chain=", ".join(steps) + ".",
        program=program,
        outcome=printed(program, x),
    )


def sumlist(rng: random.Random, level: int) -> Case:
    """Sums of 3 one-digit (0), 4 two-digit (1) or 4 three-digit (2) numbers; running totals."""
    count, num_digits = ((3, 1), (4, 2), (4, 3))[level]
    terms = [with_digits(rng, num_digits) for _ in range(count)]
    totals = [sum(terms[: n + 1]) for n in range(count)]
    listed = ", ".join(map(str, terms))
    question = rng.choice((f"Find the sum of {listed}.", f"Add up {listed}."))
    program = f"print(sum([{','.join(map(str, terms))}]))"
    return Case(
        key=tuple(sorted(terms)),
        question=question,
        answer=str(totals[-1]),
        chain=", ".join(map(str, totals)) + ".",
        program=program,
        outcome=printed(program, totals[-1]),
    )
