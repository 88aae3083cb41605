"""Units of measurement after numbers: which ones contradict each other, which ones convert."""

import re
from fractions import Fraction
from typing import NamedTuple

_INCH = Fraction(127, 5000)
#: dimension -> unit -> (its size, its spellings without a plural s). Other words are taken as names
#: of what is counted.
_TABLE = {
    "length": {
        "mm": (Fraction(1, 1000), "mm millimeter millimetre"),
        "cm": (Fraction(1, 100), "cm centimeter centimetre"),
        "m": (Fraction(1), "m meter metre"),
        "km": (Fraction(1000), "km kilometer kilometre"),
        "in": (_INCH, "inch inches"),
        "ft": (12 * _INCH, "ft foot feet"),
        "yd": (36 * _INCH, "yd yard"),
        "mi": (63360 * _INCH, "mile mi"),
    },
    "mass": {
        "mg": (Fraction(1, 1000), "mg milligram"),
        "g": (Fraction(1), "g gram"),
        "kg": (Fraction(1000), "kg kilogram"),
    },
    "time": {
        "s": (Fraction(1), "s sec second"),
        "min": (Fraction(60), "min minute"),
        "h": (Fraction(3600), "h hr hour"),
        "day": (Fraction(86400), "day"),
        "week": (Fraction(604800), "week"),
    },
    "money": {
        "cent": (Fraction(1), "cent"),
        "dollar": (Fraction(100), "dollar"),
    },
    "angle in degrees": {"deg": (Fraction(1), "degree deg")},
    "angle in radians": {"rad": (Fraction(1), "radian rad")},
}
_NAMES = {
    spelling: unit
    for units in _TABLE.values()
    for unit, (_, spellings) in units.items()
    for spelling in spellings.split()
}
_SIZES = {
    unit: (dimension, size)
    for dimension, units in _TABLE.items()
    for unit, (size, _) in units.items()
}
#: Letters behind a number that are mathematics, not a unit.
_MATHEMATICS = re.compile(r"(?:or|and|to|mod|pi|sqrt|sin|cos|tan|log|ln|exp|infty|in|if|[xyznkie])")
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cubed": 3}
_UNIT = re.compile(r"([a-z]+)(?:\^(\d))?")


class _Size(NamedTuple):
    dimension: str
    power: int
    factor: Fraction


def canonical(text: str, *, is_apart: bool) -> str:
    """One spelling of a unit; "" if the letters may be mathematics.

    is_apart: whether a blank stood between the number and the letters.
    """
    words = re.sub(r"[\s.{}]+", " ", text.lower()).strip().split(" ")
    if any(_MATHEMATICS.fullmatch(word.partition("^")[0]) for word in words):
        return ""
    power = 1
    for word in words[:1] + words[1:][-1:]:
        power = _POWERS.get(word, power)
    plain = [word for word in words if word not in _POWERS]
    match = _UNIT.fullmatch(plain[0]) if plain else None
    name = match.group(1) if match else ""
    known = _NAMES.get(name.removesuffix("s"), _NAMES.get(name, ""))
    if not is_apart and (not known or len(name) == 1):
        return ""  # 4ab is a product, and 5m may be five times m
    if not known and len(words[0]) < 2:
        return ""
    if not known or len(plain) > 1:
        return " ".join(words)
    power = int(match.group(2)) if match and match.group(2) else power
    return known if power == 1 else f"{known}^{power}"


def ratio(one: str, other: str) -> Fraction | None:
    """What turns an amount in unit `one` into an amount in unit `other`.

    1 where a unit is missing or only names what is counted; None where both are known and measure
    different things.
    """
    first, second = _size(one), _size(other)
    if first is None or second is None:
        return Fraction(1)
    if (first.dimension, first.power) != (second.dimension, second.power):
        return None
    return first.factor / second.factor


def _size(unit: str) -> _Size | None:
    name, _, power = unit.partition("^")
    if name not in _SIZES:
        return None
    dimension, size = _SIZES[name]
    return _Size(dimension, int(power or 1), size ** int(power or 1))
