r"""Inequalities in one variable, as the sets of numbers that they describe."""

import re

_RELATION = r"(<|>|\\le(?![A-Za-z])|\\ge(?![A-Za-z])|\\lt(?![A-Za-z])|\\gt(?![A-Za-z]))"
_SPLIT = re.compile(_RELATION)
_VARIABLE = re.compile(r"[A-Za-z](?:_\{?\w\}?)?|\\[a-z]+")
_ALTERNATIVE = re.compile(r"\s+or\s+|\s*\\cup\s*|\s*\\vee\s*")
_SETS = ("(", "[")
_LESS = {"<": False, "\\lt": False, "\\le": True}
_GREATER = {">": False, "\\gt": False, "\\ge": True}


def comparable(mine: str, gold: str) -> tuple[str, str]:
    """The two cleaned answers. If one is an inequality and the other a set or an inequality in the
    same variable, inequalities are written as intervals."""
    first, second = as_interval(mine), as_interval(gold)
    if first and second and first[0] == second[0]:
        return first[1], second[1]
    if first and not second and gold.startswith(_SETS):
        return first[1], gold
    if second and not first and mine.startswith(_SETS):
        return mine, second[1]
    return mine, gold


def as_interval(text: str) -> tuple[str, str] | None:
    r"""(variable, interval in LaTeX) of a cleaned `x>5`, `1<x\le 3` or `x<1 or x>3`, else None."""
    parts = [_single(part.strip()) for part in _ALTERNATIVE.split(text)]
    if len(parts) > 10 or any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    if len({variable for variable, _ in known}) != 1:
        return None
    return known[0][0], "\\cup".join(interval for _, interval in known)


def _single(text: str) -> tuple[str, str] | None:
    pieces = [piece.strip() for piece in _SPLIT.split(text)]
    match pieces:
        case [left, relation, right] if _VARIABLE.fullmatch(left):
            return _ray(left, relation, right)
        case [left, relation, right] if _VARIABLE.fullmatch(right):
            return _ray(right, _turned(relation), left)
        case [low, first, variable, second, high] if _VARIABLE.fullmatch(variable):
            if first in _GREATER and second in _GREATER:
                low, first, second, high = high, _turned(second), _turned(first), low
            if first not in _LESS or second not in _LESS:
                return None
            opening = "[" if _LESS[first] else "("
            closing = "]" if _LESS[second] else ")"
            return variable, f"{opening}{low},{high}{closing}"
        case _:
            return None


def _ray(variable: str, relation: str, bound: str) -> tuple[str, str]:
    if relation in _GREATER:
        return variable, f"{'[' if _GREATER[relation] else '('}{bound},\\infty)"
    return variable, f"(-\\infty,{bound}{']' if _LESS[relation] else ')'}"


def _turned(relation: str) -> str:
    pairs = (("<", ">"), ("\\le", "\\ge"), ("\\lt", "\\gt"))
    return (dict(pairs) | {greater: less for less, greater in pairs})[relation]
