r"""Symbolic comparison of two answers by Math-Verify: the job of servers of its own.

Math-Verify turns LaTeX into SymPy through a grammar and never evaluates the text as code, but a
hostile text may keep it busy forever. So this module is only imported by fork servers
(`symbolic_job.JOB`), whose children can be killed.
"""

import collections
import contextlib
import dataclasses
import itertools
import re
from typing import Any, cast

import latex2sympy2_extended as latex2sympy
import math_verify
import sympy
from latex2sympy2_extended import latex2sympy2
from math_verify import grader, parser

from acim_jax.grading import domains, symbolic_job

#: Two closed numbers without a decimal among them are the same within this relative difference;
#: Math-Verify itself rounds to 6 absolute places, which makes all tiny numbers equal.
EXACT_TOLERANCE = 1e-25
#: A decimal reference answer is taken as rounded.
DECIMAL_TOLERANCE = 1e-6

Parsed = sympy.Basic | sympy.MatrixBase

_DIGITS = 40
_MARKUP = latex2sympy.NormalizationConfig(
    basic_latex=True, units=True, malformed_operators=True, nits=True, boxed="last", equations=False
)
#: What may be a unit at the end. It is none behind a variable: \pi r^2 h counts no hours.
_UNIT = re.compile(r"[A-Za-z]+(?:\^\{?\d\}?)?(?:\s*/\s*[A-Za-z]+(?:\^\{?\d\}?)?)?\s*$")
_VARIABLE = re.compile(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])")
#: Math-Verify's own setting makes r of R.
_CASED = latex2sympy2.ConversionConfig(lowercase_symbols=False)
#: Both gammas would be Euler's constant.
_GAMMA = re.compile(r"\\([gG]amma)(?![A-Za-z]|\s*[_(])")


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
    (gold, gold_text), (mine, mine_text) = _parsed(answer), _parsed(prediction)
    if gold_text == mine_text:
        return gold_text != ""
    if gold is None or mine is None:
        return False
    gold, mine = _told_apart(gold, _with_constant(mine, gold))
    if not gold.has(sympy.Float):
        mine = _without_floats(mine)
    if isinstance(mine, sympy.Expr) and isinstance(gold, sympy.Expr):
        verdict = _numbers_agree(mine, gold)
        if verdict is not None:
            return verdict
    pairs = itertools.chain([(gold, mine)], domains.restricted(gold, mine))
    return any(math_verify.verify(*pair, timeout_seconds=0) for pair in pairs)


def _parsed(text: str) -> tuple[Parsed | None, str]:
    """An answer as SymPy has it, and as text without markup; None where the grammar fails.

    As `math_verify.parse` does it, but for the case of symbols.
    """
    markup = dataclasses.replace(_MARKUP, units=not _VARIABLE.search(_UNIT.sub("", text)))
    latex = latex2sympy.normalize_latex(rf"\boxed{{{text}}}", markup)
    for part in dict.fromkeys((latex, parser.get_last_eq(latex))):
        with contextlib.suppress(Exception):  # the grammar raises bare ones
            parsed = latex2sympy.latex2sympy(
                _GAMMA.sub(r"\\variable{\1}", part),
                is_real=not grader.should_treat_as_complex(part),
                normalization_config=None,
                conversion_config=_CASED,
            )
            return cast(Parsed, parsed), latex
    return None, latex


def _with_constant(mine: Any, gold: Any) -> Any:
    """An antiderivative's `+ c` as `+ C` if the reference has that, beside a variable as t or x."""
    small, large = (sympy.Symbol(name, real=True) for name in "cC")
    are_sums = isinstance(mine, sympy.Add) and isinstance(gold, sympy.Add)
    if not (are_sums and small in mine.args and large in gold.args):
        return mine
    left = [str(symbol) for symbol in (mine - small).free_symbols | (gold - large).free_symbols]
    return mine.xreplace({small: large}) if len(left) == 1 and left[0] in "tuxyz" else mine


def _told_apart(*things: Any) -> list[Any]:
    """Names that differ in case alone, marked: Math-Verify would take phi for Phi, m_1 for M_1.

    Only where there are such names, since SymPy evaluates what it renames.
    """
    symbols = {symbol for thing in things for symbol in thing.free_symbols}
    counts = collections.Counter(name.lower() for name in {symbol.name for symbol in symbols})
    marks = {
        symbol: sympy.Symbol(re.sub("([A-Z])", r"^\1", symbol.name), real=symbol.is_real)
        for symbol in symbols
        if counts[symbol.name.lower()] > 1
    }
    return [thing.xreplace(marks) for thing in things]


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
