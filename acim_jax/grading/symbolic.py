r"""Symbolic comparison of two answers by Math-Verify: the job of servers of its own.

Math-Verify turns LaTeX into SymPy through a grammar and never evaluates the text as code, but a
hostile text may keep it busy forever. So this module is only imported by fork servers
(`symbolic_job.JOB`), whose children can be killed.
"""

from typing import Any

import math_verify
import sympy
from math_verify import parser

from acim_jax.grading import symbolic_job

#: Two closed numbers without a decimal among them are the same within this relative difference;
#: Math-Verify itself rounds to 6 absolute places, which makes all tiny numbers equal.
EXACT_TOLERANCE = 1e-25
#: A decimal reference answer is taken as rounded.
DECIMAL_TOLERANCE = 1e-6

Parsed = sympy.Basic | sympy.MatrixBase | str

_DIGITS = 40
_LATEX = (parser.LatexExtractionConfig(boxed_match_priority=0),)


def warm_up() -> None:
    """Has grammars and caches loaded that most comparisons need."""
    for prediction, answer in (
        (r"\frac{1}{2}+x^{2}\sqrt{3}", r"x^2\sqrt{3}+\frac{2}{4}"),
        (r"\{1,2\}", r"\{2,1\}"),
        (r"(1,\pi]", r"(1,\infty)"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "3"),
        ("x=5", "5"),
    ):
        compare(prediction, answer)


def compare(prediction: str, answer: str) -> int:
    """Compares `prediction` with the reference `answer`, both LaTeX, unboxed; the exit code."""
    return symbolic_job.EQUAL if _are_equal(prediction, answer) else symbolic_job.DIFFERENT


def _are_equal(prediction: str, answer: str) -> bool:
    gold, mine = (
        math_verify.parse(rf"\boxed{{{text}}}", _LATEX, parsing_timeout=0)
        for text in (answer, prediction)
    )
    if not gold or not mine:
        return False
    gold_is_exact = isinstance(gold[0], str) or not gold[0].has(sympy.Float)
    if gold_is_exact and not isinstance(mine[0], str):
        mine[0] = _without_floats(mine[0])
    if isinstance(mine[0], sympy.Expr) and isinstance(gold[0], sympy.Expr):
        verdict = _numbers_agree(mine[0], gold[0])
        if verdict is not None:
            return verdict
    return math_verify.verify(gold, mine, timeout_seconds=0)


def _numbers_agree(mine: sympy.Basic, gold: sympy.Basic) -> bool | None:
    """Compares two expressions by value if both are closed numbers, else None.

    A lone `i` among numbers is the imaginary unit; beside other variables it is an index.
    """
    free = mine.free_symbols | gold.free_symbols
    if {str(symbol) for symbol in free} == {"i"}:
        units: dict[Any, Any] = dict.fromkeys(free, sympy.I)
        mine, gold = mine.xreplace(units), gold.xreplace(units)
    if mine.free_symbols or gold.free_symbols or not (mine.is_number and gold.is_number):
        return None
    tolerance = DECIMAL_TOLERANCE if gold.has(sympy.Float) else EXACT_TOLERANCE
    a, b = _without_floats(mine), _without_floats(gold)
    gap = sympy.Abs(a - b).evalf(_DIGITS, maxn=400)
    size = sympy.Abs(b).evalf(_DIGITS, maxn=400)
    if not (gap.is_Float or gap.is_zero) or not (size.is_Float or size.is_zero):
        return None
    return bool(gap <= tolerance * size)


def _without_floats(thing: Any) -> Any:
    """Decimals as the fractions that they were written as."""
    return thing.xreplace({x: sympy.Rational(str(x)) for x in thing.atoms(sympy.Float)})
