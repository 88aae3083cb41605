"""Families in which the size of the numbers decides whether the natural program can work.

At level 0 the program is right. At levels 1 and 2 it runs out of CPU time, or a float cannot hold
the number, while round numbers make the mental arithmetic easy. In `lastdigit` and `division`
another program is right at every level.
"""

import random

from acim_jax.data.families.case import Case, case, printed, timed_out, with_digits

#: Trailing zeros of round numbers: a loop of 10^7 steps or more exceeds 0.05 s of CPU time.
ZEROS = ((), (7, 8, 9), (10, 11, 12))
#: Zeros inside the dividend. From 10^17 on, neighbouring doubles are 16 or more apart, so a
#: quotient that ends in one digit after the zeros is never a double; below 10^22 the round part is.
INNER_ZEROS = ((3, 4), (16, 17), (19, 20))
#: Last digit of base^exponent by the exponent's parity (even, odd): these two repeat with period 2.
ENDINGS = {4: (6, 4), 9: (1, 9)}


def lastdigit(rng: random.Random, level: int) -> Case:
    """Last digit of 4^e or 9^e, e of 2, 9 or 12 digits: only the parity of e matters."""
    base, exponent = rng.choice(tuple(ENDINGS)), with_digits(rng, (2, 9, 12)[level])
    parity = ("even", "odd")[exponent % 2]
    answer = ENDINGS[base][exponent % 2]
    power = f"{base}^{exponent}"
    question = rng.choice(
        (f"What is the last digit of {power}?", f"Find the last digit of {power}.")
    )
    natural = f"print({base}**{exponent}%10)"
    return case(
        (base, exponent),
        question,
        answer,
        chain=f"{exponent % 10} is {parity}, {base}^{parity} ends in {answer}.",
        programs=(
            timed_out(natural) if level else printed(natural, answer),
            printed(f"print(pow({base},{exponent},10))", answer),
        ),
    )


def oddsum(rng: random.Random, level: int) -> Case:
    """The sum of the first n odd numbers, n^2: n arbitrary of 3 digits (0) or round (1, 2)."""
    if level == 0:
        n = with_digits(rng, 3)
        chain = f"{n}^2={n * n}."
    else:
        # A final zero of the leading digits could not be told from the zeros after them.
        lead, zeros = rng.choice([n for n in range(1, 13) if n % 10]), rng.choice(ZEROS[level])
        n = lead * 10**zeros
        chain = f"{lead}^2={lead * lead}, {zeros}+{zeros}={2 * zeros} zeros."
    odds = f"the first {n} odd numbers"
    question = rng.choice(
        (f"Find the sum of {odds}.", f"What is the sum of {odds}?", f"Add {odds}.")
    )
    program = f"print(sum(2*i+1 for i in range({n})))"
    outcome = timed_out(program) if level else printed(program, n * n)
    return case((n,), question, n * n, chain=chain, programs=(outcome,))


def multiples(rng: random.Random, level: int) -> Case:
    """How many multiples of d lie in 1..n: n arbitrary of 3 digits (0), or m*d*10^k (1, 2)."""
    if level == 0:
        d, n = rng.randint(2, 5), with_digits(rng, 3)
        chain = f"{n}={d}*{n // d}+{n % d}."
    else:
        d, quotient = _exact_division(rng, 5)
        zeros = rng.choice(ZEROS[level])
        n = d * quotient * 10**zeros
        chain = f"{d * quotient}/{d}={quotient}, {zeros} zeros."
    span = f"from 1 to {n}"
    question = rng.choice(
        (f"How many multiples of {d} are there {span}?", f"Count the multiples of {d} {span}.")
    )
    program = f"print(len([x for x in range(1,{n}+1) if x%{d}==0]))"
    outcome = timed_out(program) if level else printed(program, n // d)
    return case((d, n), question, n // d, chain=chain, programs=(outcome,))


def division(rng: random.Random, level: int) -> Case:
    """How many times d goes into a number like 12000...0006, of about 5, 19 or 22 digits. The
    natural program divides floats, which hold 53 bits: what stands after many zeros is rounded
    away."""
    d, quotient = _exact_division(rng, 4)
    last = rng.randint(1, 9 // d)
    zeros = rng.choice(INNER_ZEROS[level])
    n = d * quotient * 10 ** (zeros + 1) + d * last
    question = rng.choice((f"How many times does {d} go into {n}?", f"Divide {n} by {d}."))
    return case(
        (d, n),
        question,
        n // d,
        chain=f"{d * quotient}/{d}={quotient}, {zeros} zeros, {d * last}/{d}={last}.",
        programs=(
            printed(f"print(int({n}/{d}))", int(n / d)),
            printed(f"print({n}//{d})", n // d),
        ),
        hasty=True,
    )


def _exact_division(rng: random.Random, largest: int) -> tuple[int, int]:
    """A divisor in 2..largest and a quotient in 1..9, the product not ending in 0."""
    pairs = [(d, q) for d in range(2, largest + 1) for q in range(1, 10) if d * q % 10]
    return rng.choice(pairs)
