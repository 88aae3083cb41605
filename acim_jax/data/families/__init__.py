"""The families of `generated:arithmetic`; `docs/problems.md` shows each of them."""

from acim_jax.data.families import arithmetic, magnitude, stories
from acim_jax.data.families.case import Case, Family

__all__ = ["FAMILIES", "LEVEL_MIX", "Case", "Family"]

FAMILIES: dict[str, Family] = {
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

#: Levels are drawn uniformly from this.
LEVEL_MIX = (0, 1, 1, 2)
