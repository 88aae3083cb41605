r"""Inequalities in one variable, as the sets of numbers that they describe."""

import re

#: Relation -> (whether the larger side stands on the left, whether both may be equal).
_RELATIONS = {
    "<": (False, False), "\\lt": (False, False), "\\le": (False, True),
    ">": (True, False), "\\gt": (True, False), "\\ge": (True, True),
}  # fmt: skip
_SPLIT = re.compile(r"(<|>|\\(?:le|ge|lt|gt)(?![A-Za-z]))")
_VARIABLE = re.compile(r"[A-Za-z](?:_\{?\w\}?)?|\\[a-z]+")
_ALTERNATIVE = re.compile(r"\s+or\s+|\s*\\cup\s*|\s*\\vee\s*")
_SETS = ("(", "[")


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
    known = [part for part in parts if part is not None]
    if not len(known) == len(parts) <= 10 or len({variable for variable, _ in known}) != 1:
        return None
    return known[0][0], "\\cup".join(interval for _, interval in known)


def _single(text: str) -> tuple[str, str] | None:
    match [piece.strip() for piece in _SPLIT.split(text)]:
        case [left, relation, right] if _VARIABLE.fullmatch(left) or _VARIABLE.fullmatch(right):
            is_left = _VARIABLE.fullmatch(left) is not None
            variable, bound = (left, right) if is_left else (right, left)
            left_is_larger, closed = _RELATIONS[relation]
            if left_is_larger == is_left:
                return variable, _interval(bound, closed, "\\infty", False)
            return variable, _interval("-\\infty", False, bound, closed)
        case [low, first, variable, second, high] if _VARIABLE.fullmatch(variable):
            (falls, closed_low), (falls_again, closed_high) = _RELATIONS[first], _RELATIONS[second]
            if falls != falls_again:
                return None
            if falls:
                return variable, _interval(high, closed_high, low, closed_low)
            return variable, _interval(low, closed_low, high, closed_high)
        case _:
            return None


def _interval(low: str, closed_low: bool, high: str, closed_high: bool) -> str:
    return f"{'[' if closed_low else '('}{low},{high}{']' if closed_high else ')'}"
