"""Units of measurement after numbers: which ones contradict each other, which ones convert."""

import re
from fractions import Fraction

#: dimension: unit, size, other spellings; … without a plural s. Other words are taken as
#: names of what is counted.
_TABLE = """
length: mm 0.001 millimeter millimetre; cm 0.01 centimeter centimetre; m 1 meter metre
length: km 1000 kilometer kilometre; inch 0.0254 inches; ft 0.3048 foot feet
length: yd 0.9144 yard; mi 1609.344 mile
mass: mg 0.001 milligram; g 1 gram; kg 1000 kilogram
time: s 1 sec second; min 60 minute; h 3600 hr hour; day 86400; week 604800
money: cent 1; dollar 100
angle in degrees: deg 1 degree
angle in radians: rad 1 radian
"""
_ENTRIES = [
    (dimension, *entry.split())
    for dimension, units in (line.split(":") for line in _TABLE.strip().splitlines())
    for entry in units.split(";")
]
_SIZES = {unit: (dimension, Fraction(size)) for dimension, unit, size, *_ in _ENTRIES}
_NAMES = {name: unit for _, unit, _, *others in _ENTRIES for name in (unit, *others)}
#: Letters behind a number that are mathematics, not a unit.
_MATHEMATICS = re.compile(r"(?:or|and|to|mod|pi|sqrt|sin|cos|tan|log|ln|exp|infty|in|if|[xyznkie])")
_POWERS = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cubed": "3"}
_UNIT = re.compile(r"([a-z]+)(?:\^(\d))?")


def canonical(text: str, *, is_apart: bool) -> str:
    """One spelling of a unit; "" if the letters may be mathematics.

    is_apart: whether a blank stood between the number and the letters.
    """
    words = re.sub(r"[\s.{}]+", " ", text.lower()).strip().split(" ")
    names = [word.partition("^")[0] for word in words]
    are_factors = len(names) > 1 and all(re.fullmatch("[a-z]", name) for name in names)
    if are_factors or any(map(_MATHEMATICS.fullmatch, names)):
        return ""  # g t^2 and m g h are products
    plain = [word for word in words if word not in _POWERS]
    match = _UNIT.fullmatch(plain[0]) if plain else None
    name, exponent = match.groups() if match else ("", None)
    known = _NAMES.get(name.removesuffix("s"), _NAMES.get(name, ""))
    if not is_apart and (not known or len(name) == 1):
        return ""  # 4ab is a product, and 5m may be five times m
    if not known and len(words[0]) < 2:
        return ""
    if not known or len(plain) > 1:
        return " ".join(words)
    power = exponent or _POWERS.get(words[-1], _POWERS.get(words[0], "1"))
    return known if power == "1" else f"{known}^{power}"


def ratio(one: str, other: str) -> Fraction | None:
    """What turns an amount in unit `one` into an amount in unit `other`.

    1 where a unit is missing or only names what is counted; None where both are known and measure
    different things.
    """
    first, second = _size(one), _size(other)
    if first is None or second is None:
        return Fraction(1)
    return first[1] / second[1] if first[0] == second[0] else None


def _size(unit: str) -> tuple[str, Fraction] | None:
    """What a unit measures, and how much of it; None where that is not known."""
    match = _UNIT.fullmatch(unit)
    if match is None or match[1] not in _SIZES:
        return None
    dimension, size = _SIZES[match[1]]
    power = int(match[2] or 1)
    return f"{dimension}^{power}", size**power
