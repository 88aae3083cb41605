"""Spelling of answers: LaTeX dressing removed, units and percent signs split from numbers.

Strings in, strings out; what an answer is worth is decided in `answers.py`.
"""

import functools
import re
from fractions import Fraction
from typing import NamedTuple

from acim_jax.environment import exact

_CHARACTERS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": "*",
        "·": "*",
        "÷": "/",
        "π": "\\pi ",
        "∞": "\\infty ",
        "²": "^2",
        "³": "^3",
        "\u00a0": " ",
        "\u202f": " ",
        "≤": "\\le ",
        "≥": "\\ge ",
        "∪": "\\cup ",
        "½": "\\frac{1}{2}",
        "⁄": "/",
    }
)
_REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|displaystyle|limits|big|Big|bigl|bigr|Bigl|Bigr)(?![A-Za-z])", ""),
        (r",\\!\s*", ","),
        # Not behind a backslash: two of them end a row of a matrix.
        (r"(?<!\\)\\[!,;:>]|\\(?:quad|qquad|thinspace)(?![A-Za-z])", ""),
        (r"(?<!\\)\\ |~", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (
            r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}",
            r" \1 ",
        ),
        (r"\s+\^", "^"),
        (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|°", ""),
        (r"\\(?:leq|le|leqslant)(?![A-Za-z])", r"\\le "),
        (r"\\(?:geq|ge|geqslant)(?![A-Za-z])", r"\\ge "),
        (r"\\[$€£]|[$€£]", ""),
        (r"\\%", "%"),
        (r"\{,\}", ","),
        (r"\*\*", "^"),
    )
]
_FENCES = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,])")
_SHORT_GROUP = re.compile(r"([_^])\{([A-Za-z0-9])\}")
_ASSIGNED = re.compile(
    r"(?:[A-Za-z](?:_\{?\w\}?)?|[a-zA-Z]\([a-z]\))\s*(?:=|\\in(?![A-Za-z]))\s*(.+)"
)
_UNIT_WORD = r"[A-Za-z]{1,20}\.?(?:\^\{?[23]\}?)?"
_WITH_UNIT = re.compile(
    rf"(?P<number>.*?[\d}}).!])(?P<gap>\s*)(?P<unit>{_UNIT_WORD}(?:(?:\s*/\s*|\s+){_UNIT_WORD}){{0,4}})"
)
_NO_UNITS = re.compile(r"(?:or|and|to|mod|pi|sqrt|sin|cos|tan|log|ln|exp|infty|in|if|[xyznkie])")
#: Units that exclude each other, spelled in one way; other words are taken as a name of the same.
_PHYSICAL = {
    spelling: unit
    for unit, spellings in {
        "mm": "mm millimeter millimetre",
        "cm": "cm centimeter centimetre",
        "m": "m meter metre",
        "km": "km kilometer kilometre",
        "in": "inch inches",
        "ft": "ft foot feet",
        "yd": "yd yard",
        "mi": "mile mi",
        "mg": "mg milligram",
        "g": "g gram",
        "kg": "kg kilogram",
        "s": "s sec second",
        "min": "min minute",
        "h": "h hr hour",
        "day": "day",
        "cent": "cent",
        "dollar": "dollar",
        "deg": "degree deg",
        "rad": "radian rad",
    }.items()
    for spelling in spellings.split()
}


class Quantity(NamedTuple):
    """A number as it was written. unit: "" without one. decimals: digits behind the point if it is
    written with one, so possibly rounded; else None."""

    value: Fraction
    unit: str
    is_percent: bool
    decimals: int | None


@functools.lru_cache(maxsize=4096)
def clean(text: str) -> str:
    """An answer without dressing: delimiters, spacing, fonts, money and degree signs."""
    text = text.translate(_CHARACTERS).strip()
    trimmed = True
    while trimmed:
        trimmed = False
        for begin, end in _FENCES:
            if text.startswith(begin) and text.endswith(end) and len(text) > len(begin + end):
                inner = text[len(begin) : -len(end)]
                if begin not in inner and end not in inner:
                    text, trimmed = inner.strip(), True
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _SHORT_GROUP.sub(r"\1\2", text.strip().rstrip(".,;:").strip())
    if not re.search(r"[(\[{]", text):
        text = _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)
    return text


def key(text: str) -> str:
    """What two answers of the same spelling share; `text` is cleaned."""
    # A space between digits stays: 1 1/2 is not 11/2.
    compact = re.sub(r"\s+(?!\d)|(?<!\d)\s+", "", text)
    if choice := re.fullmatch(r"\(([A-Za-z])\)", compact):
        return choice.group(1)
    # Words are compared without regard to case, symbols are not.
    return compact.casefold() if is_words(text) else compact


def is_words(text: str) -> bool:
    """Whether a cleaned answer is plain words (three letters or more), not mathematics."""
    return len(text) >= 3 and re.fullmatch(r"[A-Za-z]{2,}(?:[ '-]+[A-Za-z]+)*", text) is not None


def unassigned(text: str) -> str:
    """The right side of `x = …`, `f(x) = …`, `x \\in …`; other texts as they are."""
    if text.count("=") + text.count("\\in ") != 1:
        return text
    match = _ASSIGNED.fullmatch(text)
    return match.group(1).strip() if match else text


def quantity(text: str) -> Quantity | None:
    """The number that a cleaned answer states, with its unit or percent sign, else None."""
    is_percent = text.endswith("%")
    number = text.removesuffix("%").rstrip()
    value = exact.rational(number)
    unit = ""
    if value is None and len(text) <= exact.MAX_CHARS:
        match = _WITH_UNIT.fullmatch(text)
        if match is None:
            return None
        number, unit = match["number"].strip(), _unit(match["unit"], bool(match["gap"]))
        value = exact.rational(number) if unit else None
        is_percent = unit in ("percent", "percentage")
        unit = "" if is_percent else unit
    if value is None:
        return None
    return Quantity(value, unit, is_percent, exact.decimals(number))


def _unit(text: str, is_apart: bool) -> str:
    """One spelling of a unit; "" if the letters may be mathematics."""
    words = re.sub(r"[\s.{}]+", " ", text.lower()).strip().split(" ")
    if any(_NO_UNITS.fullmatch(word.partition("^")[0]) for word in words):
        return ""
    single = words[0]
    known = _PHYSICAL.get(single.removesuffix("s"), _PHYSICAL.get(single, ""))
    if not known and (not is_apart or len(single) < 2):
        return ""  # 4ab is a product, 4 apples is not
    if known and len(single) == 1 and not is_apart:
        return ""  # 5m may be five times m
    return known if known and len(words) == 1 else " ".join(words)


def units_agree(one: str, other: str) -> bool:
    """False only for two different physical units; names of things are not compared."""
    known = set(_PHYSICAL.values())
    return one == other or not (one in known and other in known)
