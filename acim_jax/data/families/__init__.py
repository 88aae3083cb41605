"""The families of generated problems; `docs/problems.md` shows each of them."""

from acim_jax.data.families import arithmetic, magnitude, number_theory, stories
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
        "product": number_theory.product,
        "expression": number_theory.expression,
        "power_mod": number_theory.power_mod,
        "multiple": number_theory.multiple,
        "primes": number_theory.primes,
        "divisors": number_theory.divisors,
        "divisible": number_theory.divisible,
        "committee": number_theory.committee,
        "digit_sum": number_theory.digit_sum,
    },
}

#: Levels are drawn uniformly from this.
LEVEL_MIX = (0, 1, 1, 2)
