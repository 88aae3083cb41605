"""The families of generated problems; `docs/problems.md` shows each of them."""

from acim_jax.data.families import arithmetic, magnitude, numbers, stories
from acim_jax.data.families.case import Case, Family, Question

__all__ = ["ARITHMETIC", "FAMILIES", "LEVEL_MIX", "Case", "Family", "Question"]

#: Those with worked solutions of both decisions.
ARITHMETIC: dict[str, Family[Case]] = {
    "mul": arithmetic.mul,
    "mod": arithmetic.mod,
    "gcd": arithmetic.gcd,
    "sumlist": arithmetic.sumlist,
    "word": stories.word,
    "lastdigit": magnitude.lastdigit,
    "oddsum": magnitude.oddsum,
    "multiples": magnitude.multiples,
    "division": magnitude.division,
    "order": stories.order,
    "units": stories.units,
}

#: By the name of the generator.
FAMILIES: dict[str, dict[str, Family[Question]]] = {
    "arithmetic": {**ARITHMETIC},
    "numbers": {
        "product": numbers.product,
        "expression": numbers.expression,
        "power_mod": numbers.power_mod,
        "multiple": numbers.multiple,
        "primes": numbers.primes,
        "divisors": numbers.divisors,
        "divisible": numbers.divisible,
        "committee": numbers.committee,
        "digit_sum": numbers.digit_sum,
    },
}

#: Levels are drawn uniformly from this.
LEVEL_MIX = (0, 1, 1, 2)
