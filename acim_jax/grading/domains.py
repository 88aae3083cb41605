r"""Answers on the half-line where both are defined.

SymPy keeps \sqrt{1/n} and 1/\sqrt{n} apart, since they differ at negative n. As real expressions
neither is defined there. \sqrt{x^2} is defined everywhere and so is not x.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import sympy

#: Where an expression is defined: at variable > start if the last is 1, < start if it is -1.
HalfLine = tuple[sympy.Symbol, sympy.Expr, int]


def restricted(gold: Any, mine: Any) -> Iterator[tuple[Any, Any]]:
    """Two expressions, or two equations, on each half-line outside of which neither is defined."""
    for kind in (sympy.Expr, sympy.Eq):
        if isinstance(gold, kind) and isinstance(mine, kind):
            lines = sorted(_half_lines(gold) & _half_lines(mine), key=str)
            for chosen in itertools.product(*_by_variable(lines)):
                inside: dict[Any, Any] = dict(chosen)
                pair = gold.xreplace(inside), mine.xreplace(inside)
                if chosen and all(isinstance(one, kind) for one in pair):
                    yield pair


def _by_variable(lines: list[HalfLine]) -> list[list[tuple[sympy.Symbol, sympy.Expr]]]:
    """For each variable what may stand for it: a start of a half-line and a positive distance."""
    found: dict[sympy.Symbol, list[tuple[sympy.Symbol, sympy.Expr]]] = {}
    for variable, start, sign in lines:
        distance = sympy.Symbol(f"{variable.name} inside", positive=True)
        found.setdefault(variable, []).append((variable, start + sign * distance))
    return list(found.values())


def _half_lines(thing: Any) -> set[HalfLine]:
    """Those of all even roots and logarithms."""
    arguments = [power.base for power in thing.atoms(sympy.Pow) if _is_even_root(power.exp)]
    arguments += [logarithm.args[0] for logarithm in thing.atoms(sympy.log)]
    return {line for line in map(_half_line, arguments) if line is not None}


def _is_even_root(exponent: Any) -> bool:
    return exponent.is_Rational and exponent.q % 2 == 0


def _half_line(argument: Any) -> HalfLine | None:
    """Where c (a v + b)^k is positive, for numbers a, b, c and an odd k; None for all else."""
    if len(argument.free_symbols) != 1:
        return None
    (variable,) = argument.free_symbols
    factor, power = argument.as_independent(variable, as_Add=False)
    base, exponent = power.as_base_exp()
    slope = sympy.diff(base, variable)
    rises = (factor * slope).is_positive
    is_odd = exponent.is_Integer and exponent.is_odd
    if not is_odd or slope.free_symbols or rises is None or slope.is_zero:
        return None
    return variable, -base.subs(variable, 0) / slope, 1 if rises else -1
