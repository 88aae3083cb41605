"""The families of `generated:numbers`: arithmetic, number theory and counting for models that speak
freely. Level 0 can be done in the head, level 2 cannot; where the border lies is the model's own.
There are no worked solutions: such a model makes its own (`acim demonstrate`).
"""

import itertools
import math
import random

from acim_jax.data.families.case import Question, with_digits


def product(rng: random.Random, level: int) -> Question:
    """Products of numbers of 1 and 2, 3 and 3, or 5 and 6 digits."""
    a, b = (with_digits(rng, n) for n in ((1, 2), (3, 3), (5, 6))[level])
    wording = rng.choice(("What is {} times {}?", "Compute {} × {}.", "Multiply {} by {}."))
    return Question((min(a, b), max(a, b)), wording.format(a, b), str(a * b))


def expression(rng: random.Random, level: int) -> Question:
    """a·b − c·d + e with numbers of 1, 2 or 4 digits."""
    a, b, c, d, e = (with_digits(rng, (1, 2, 4)[level]) for _ in range(5))
    return Question(
        (a, b, c, d, e),
        f"Evaluate {a} * {b} - {c} * {d} + {e}.",
        str(a * b - c * d + e),
    )


def power_mod(rng: random.Random, level: int) -> Question:
    """The remainder of a power: exponents up to 4, 30, 900."""
    a = rng.randint(2, (6, 12, 99)[level])
    b = rng.randint((2, 8, 100)[level], (4, 30, 900)[level])
    m = rng.randint(3, (9, 30, 997)[level])
    return Question(
        (a, b, m), f"What is the remainder when {a}^{b} is divided by {m}?", str(pow(a, b, m))
    )


def multiple(rng: random.Random, level: int) -> Question:
    """The least common multiple of 2, 3 or 4 numbers of 1, 2 or 3 digits."""
    numbers = sorted(rng.sample(range(2, (10, 41, 401)[level]), level + 2))
    listed = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
    return Question(
        tuple(numbers),
        f"Find the least common multiple of {listed}.",
        str(math.lcm(*numbers)),
    )


def primes(rng: random.Random, level: int) -> Question:
    """How many primes lie in a range of 10, 60 or 600 numbers."""
    first = rng.randint(2, (12, 200, 3000)[level])
    last = first + rng.randint(*((5, 12), (30, 60), (300, 600))[level])
    count = sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(first, last + 1))
    return Question(
        (first, last),
        f"How many prime numbers are there from {first} to {last}, inclusive?",
        str(count),
    )


def divisors(rng: random.Random, level: int) -> Question:
    """How many positive divisors a number below 20, 400 or 100,000 has, or their sum."""
    n = rng.randint(*((4, 20), (60, 400), (2000, 100_000))[level])
    found = [d for d in range(1, n + 1) if n % d == 0]
    if rng.random() < 0.5:
        return Question((n,), f"How many positive divisors does {n} have?", str(len(found)))
    question = f"What is the sum of all positive divisors of {n}?"
    return Question((n,), question, str(sum(found)))


def divisible(rng: random.Random, level: int) -> Question:
    """How many numbers from 1 to n are divisible by a or b, but not by c."""
    n = rng.randint(*((10, 20), (50, 150), (1000, 5000))[level])
    a, b, c = rng.sample(range(2, 13), 3)
    count = sum((k % a == 0 or k % b == 0) and k % c != 0 for k in range(1, n + 1))
    return Question(
        (n, min(a, b), max(a, b), c),
        f"How many integers from 1 to {n} are divisible by {a} or by {b}, but not by {c}?",
        str(count),
    )


def committee(rng: random.Random, level: int) -> Question:
    """Committees of w women and m men: products of binomial coefficients."""
    women, men = (rng.randint(*((3, 6), (6, 12), (12, 24))[level]) for _ in range(2))
    w, m = (rng.randint(*((1, 2), (2, 3), (4, 6))[level]) for _ in range(2))
    return Question(
        tuple(itertools.chain(*sorted([(women, w), (men, m)]))),
        f"A club has {women} women and {men} men. In how many ways can a committee of {w} women "
        f"and {m} men be chosen?".replace(" 1 women", " 1 woman").replace(" 1 men", " 1 man"),
        str(math.comb(women, w) * math.comb(men, m)),
    )


def digit_sum(rng: random.Random, level: int) -> Question:
    """The sum of the digits of a power with 2 to 4, about 7, or about 60 digits."""
    base = rng.randint(2, 12)
    digits = rng.uniform(*((1, 3), (5, 8), (40, 80))[level])
    exponent = max(2, round(digits / math.log10(base)))
    total = sum(map(int, str(base**exponent)))
    question = f"What is the sum of the digits of {base}^{exponent}?"
    return Question((base, exponent), question, str(total))
