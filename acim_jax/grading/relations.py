r"""Inequalities in one variable, as the sets of numbers that they describe."""

import re

from acim_jax.grading import exact

#: Relation -> (whether the larger side stands on the left, whether both may be equal).
_RELATIONS = {
    "<": (False, False), "\\lt": (False, False), "\\le": (False, True),
    ">": (True, False), "\\gt": (True, False), "\\ge": (True, True),
}  # fmt: skip
_SPLIT = re.compile(r"(<|>|\\(?:le|ge|lt|gt)(?![A-Za-z]))")
_UNEQUAL = re.compile(r"\\(?:ne|neq)(?![A-Za-z])")
_NAME = r"[A-Za-z](?:_\{?\w\}?)?|\\[a-z]+"
_VARIABLE = re.compile(_NAME)
_ABSOLUTE = re.compile(rf"\|\s*({_NAME})\s*\|")
_ALTERNATIVE = re.compile(r"\s+or\s+|\s*\\cup\s*|\s*\\(?:vee|lor)(?![A-Za-z])\s*")
_CONDITION = re.compile(r"\s*,?\s+and\s+|\s*\\(?:wedge|land)(?![A-Za-z])\s*|\s*,\s*")
_BUILDER = re.compile(
    rf"\\\{{\s*(?P<variable>{_NAME})\s*(?:\\in\s*\\mathbb\{{R\}}\s*)?"
    r"(?:\||:|;|\\mid(?![A-Za-z])|\\vert(?![A-Za-z]))\s*(?P<condition>.+?)\s*\\\}"
)
_REALS = "\\mathbb{R}"
_SETS = ("(", "[", _REALS)
#: Closed and positive, if it is no rational: no minus sign in it.
_POSITIVE = re.compile(r"(?:\\(?:frac|sqrt|pi)(?![A-Za-z])|[+*/(){}\d.\s])+")


def comparable(mine: str, gold: str) -> tuple[str, str]:
    """The two cleaned answers. If one is an inequality and the other a set or an inequality in the
    same variable, inequalities are written as sets."""
    first, second = as_set(mine), as_set(gold)
    if first and second:
        is_same = first[0] == second[0] or None in (first[0], second[0])
        return (first[1], second[1]) if is_same else (mine, gold)
    if first and gold.startswith(_SETS):
        return first[1], gold
    if second and mine.startswith(_SETS):
        return mine, second[1]
    return mine, gold


def as_set(text: str) -> tuple[str | None, str] | None:
    r"""(variable, set in LaTeX) of a cleaned `x>5`, `1<x\le 3`, `|x|<1`, `x\ne 2`, `x<1 or x>3` or
    `x>0 and x\ne 1`, else None. The variable of `\{x : x>5\}` is bound: None."""
    if not (_SPLIT.search(text) or _UNEQUAL.search(text)):
        return None
    if builder := _BUILDER.fullmatch(text):
        found = as_set(builder["condition"])
        return (None, found[1]) if found and found[0] == builder["variable"] else None
    parts = [_all_of(part.strip()) for part in _ALTERNATIVE.split(text)[:11]]
    known = [part for part in parts if part is not None]
    if not len(known) == len(parts) <= 10 or len({variable for variable, _ in known}) != 1:
        return None
    sets = [found for _, found in known]
    if len(sets) > 1 and any("\\setminus" in found for found in sets):
        return None  # x < 1 or x \ne 2 leaves open what was meant
    return known[0][0], "\\cup".join(sets)


def _all_of(text: str) -> tuple[str, str] | None:
    r"""Conditions that hold together: at most one inequality or pair of them, and values left out
    (`x \ge 0, x \ne 1`, `x \ne 2, 3`)."""
    inside: list[tuple[str, str]] = []
    left_out: list[str] = []
    variables: set[str] = set()
    for piece in _CONDITION.split(text)[:11]:
        match [side.strip() for side in _UNEQUAL.split(piece)]:
            case [one, other] if _VARIABLE.fullmatch(one) or _VARIABLE.fullmatch(other):
                name, value = (one, other) if _VARIABLE.fullmatch(one) else (other, one)
                variables.add(name)
                left_out += _values(value)
            case [value] if left_out and value and not _SPLIT.search(value):
                left_out += _values(value)
            case [relation] if (found := _single(relation)) is not None:
                variables.add(found[0])
                inside.append(found)
            case _:
                return None
    if len(variables) != 1 or len(inside) + len(left_out) > 10:
        return None
    ((variable,), bases) = variables, [base for _, base in inside] or [_REALS]
    if len(bases) > 1 and (left_out or any("\\cup" in base for base in bases)):
        return None
    base = "\\cap".join(bases)
    if not left_out:
        return variable, base
    return variable, rf"{base}\setminus\{{{','.join(left_out)}\}}"


def _values(text: str) -> list[str]:
    value = text.removeprefix("\\pm").strip()
    return [value] if value == text else [value, f"-{value}"]


def _single(text: str) -> tuple[str, str] | None:
    match [piece.strip() for piece in _SPLIT.split(text)]:
        case [left, relation, right] if _VARIABLE.fullmatch(left) or _VARIABLE.fullmatch(right):
            is_left = _VARIABLE.fullmatch(left) is not None
            variable, bound = (left, right) if is_left else (right, left)
            left_is_larger, closed = _RELATIONS[relation]
            if left_is_larger == is_left:
                return variable, _interval(bound, closed, "\\infty", False)
            return variable, _interval("-\\infty", False, bound, closed)
        case [left, relation, right] if absolute := _ABSOLUTE.fullmatch(left):
            return _of_absolute(absolute[1], *_RELATIONS[relation], right)
        case [left, relation, right] if absolute := _ABSOLUTE.fullmatch(right):
            left_is_larger, closed = _RELATIONS[relation]
            return _of_absolute(absolute[1], not left_is_larger, closed, left)
        case [low, first, variable, second, high] if _VARIABLE.fullmatch(variable):
            (falls, closed_low), (falls_again, closed_high) = _RELATIONS[first], _RELATIONS[second]
            if falls != falls_again:
                return None
            if falls:
                return variable, _interval(high, closed_high, low, closed_low)
            return variable, _interval(low, closed_low, high, closed_high)
        case _:
            return None


def _of_absolute(
    variable: str, is_larger: bool, closed: bool, bound: str
) -> tuple[str, str] | None:
    """|variable| on one side of a positive bound. Of the variable alone: what |2x - 1| < 3 leaves
    to be solved is no answer."""
    value = exact.rational(bound)
    if not (value > 0 if value is not None else _POSITIVE.fullmatch(bound)):
        return None
    opposite = f"-({bound})" if "+" in bound else f"-{bound}"
    if not is_larger:
        return variable, _interval(opposite, closed, bound, closed)
    low = _interval("-\\infty", False, opposite, closed)
    high = _interval(bound, closed, "\\infty", False)
    return variable, rf"{low}\cup{high}"


def _interval(low: str, closed_low: bool, high: str, closed_high: bool) -> str:
    return f"{'[' if closed_low else '('}{low},{high}{']' if closed_high else ')'}"
