r"""Is an extracted answer right? What can be decided exactly; the rest is left to `symbolic.py`.

Where graders differ, `GraderConfig` decides; docs/grading.md states the rules. Numbers are compared
as fractions. Only a decimal reference answer may be rounded, so it alone has a tolerance. No text
is evaluated as code.
"""

import dataclasses
import re
from fractions import Fraction
from typing import Literal

from acim_jax.grading import exact, guards, relations, spelling, units
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.extraction import PLAIN_NUMBER

Method = Literal["exact", "numeric", "symbolic", "timeout", "none"]

DECIMAL_TOLERANCE = Fraction(1, 10**6)

_NO_NUMBER = re.compile(r"^(?!.*\\(?:max|min|gcd|lcm)).*,|^\w+_\{?\d", re.DOTALL)
_ONLY_DIGITS = re.compile(r"[-+\d./ ]+")
_WITH_BASE = re.compile(r"([0-9A-Za-z]{1,100})_\{?(\d{1,2})\}?")
_ENDLESS = re.compile(r"\\[lc]?dots(?![A-Za-z])|\.\.\.|…")
_BINDS = re.compile(r"\\(?:int|sum|prod|lim)(?![A-Za-z])")
_ONE_LETTER = re.compile(r"\(?[A-Za-z]\)?")
_LETTERS = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_BRACKETS = (("\\{", "\\}"), ("(", ")"), ("(", "]"), ("[", "]"), ("[", ")"))
_LIST = re.compile(r"\s*(?:,\s*(?:and|or)\s|,|\s(?:and|or)\s)\s*")

_DEFAULTS = GraderConfig()


@dataclasses.dataclass(frozen=True)
class Grade:
    """method: what decided. `timeout`: the symbolic comparison ran out of time (not correct).
    `none`: nothing to grade, or too large to be compared. wall_s: seconds spent. infra: the
    comparison failed on our side."""

    correct: bool
    extracted: str | None
    method: Method
    wall_s: float
    infra: bool = False


def decide(
    extracted: str | None, answer: str, policy: GraderConfig = _DEFAULTS
) -> tuple[Method, bool] | None:
    """What needs no symbolic computation: (method, correct); else None."""
    if not extracted:
        return "none", False
    if extracted == answer:
        return "exact", True
    if len(extracted) > guards.MAX_CHARS and not PLAIN_NUMBER.fullmatch(extracted):
        return "none", False
    mine, gold = spelling.clean(extracted), spelling.clean(answer)
    if not mine or not gold:
        return "none", False
    if spelling.key(mine) == spelling.key(gold):
        return "exact", True
    if not ("=" in mine and "=" in gold):
        mine, gold = spelling.unassigned(mine), spelling.unassigned(gold)
    mine, gold = relations.comparable(mine, gold)
    if spelling.key(mine) == spelling.key(gold):
        return "exact", True
    verdict = (
        _decide_form(mine, gold)
        or _decide_numbers(mine, gold, policy)
        or _decide_lists(mine, gold)
        or _decide_words(mine, gold)
    )
    if verdict is None and (guards.is_too_large(mine) or guards.is_too_large(gold)):
        return "none", False
    return verdict


def _decide_form(mine: str, gold: str) -> tuple[Method, bool] | None:
    """Choices by their letter; texts that are no answer, or that end in dots."""
    if (letter := spelling.choice(gold)) and (chosen := spelling.choice(mine)):
        return "exact", letter == chosen
    if (_ENDLESS.search(mine) is None) != (_ENDLESS.search(gold) is None):
        return "exact", False
    left, equals, _ = mine.partition("=")
    if equals and "=" not in gold and not _LETTERS.search(left):
        return "exact", False  # 2 + 3 = 5 says nothing of what is asked
    return None


def _decide_numbers(mine: str, gold: str, policy: GraderConfig) -> tuple[Method, bool] | None:
    a, b = spelling.quantity(mine), spelling.quantity(gold)
    if a is not None and b is not None:
        one_is_share = (a.is_percent and b.unit) or (b.is_percent and a.unit)
        unit = None if one_is_share else units.ratio(a.unit, b.unit)
        if unit is None:
            return "exact", False
        scales = [unit * scale for scale in _scales(a, b, policy)]
        if any(a.value * scale == b.value for scale in scales):
            return "exact", True
        if b.decimals is None or policy.rounding == "exact":
            return "exact", False
        room = DECIMAL_TOLERANCE * abs(b.value)
        if policy.rounding == "digits":
            room = Fraction(1, 2) / Fraction(10) ** b.decimals
        return "numeric", any(abs(a.value * scale - b.value) <= room for scale in scales)
    if (first := _WITH_BASE.fullmatch(mine)) and (second := _WITH_BASE.fullmatch(gold)):
        return "exact", _in_base(*first.groups()) == _in_base(*second.groups())
    # A number is never equal to something with free letters, a list, or a base as index.
    number, other = (a, gold) if a is not None else (b, mine)
    if number is not None and (_has_lone_letters(other) or _NO_NUMBER.search(other)):
        return "exact", False
    if number is not None and _ONLY_DIGITS.fullmatch(other):
        return "exact", False  # 5/0, 1.2.3, or too many digits to be equal to what was read
    return None


def _scales(a: spelling.Quantity, b: spelling.Quantity, policy: GraderConfig) -> list[Fraction]:
    """Factors that the prediction `a` may be multiplied with before it is compared with `b`."""
    if a.is_percent == b.is_percent or policy.percent == "unit":
        return [Fraction(1)]
    value = Fraction(1, 100) if a.is_percent else Fraction(100)
    return [value] if policy.percent == "value" else [Fraction(1), value]


def _in_base(digits: str, base: str) -> int | str:
    try:
        return int(digits, int(base))
    except ValueError:  # a digit that the base lacks: an index, not a base
        return f"{digits}_{base}"


def _decide_lists(mine: str, gold: str) -> tuple[Method, bool] | None:
    a, b = _items(mine), _items(gold)
    if a is None or b is None:
        return None
    (a_begin, a_values, a_end), (b_begin, b_values, b_end) = a, b
    if a_begin in ("", "\\{") and b_begin in ("", "\\{"):
        return "exact", set(a_values) == set(b_values)
    if {a_begin, b_begin} == {"", "("} and a_end in ("", ")") and b_end in ("", ")"):
        return "exact", a_values == b_values
    if a_begin and b_begin:
        return "exact", (a_begin, a_end) == (b_begin, b_end) and a_values == b_values
    return None


def _items(text: str) -> tuple[str, list[Fraction], str] | None:
    """Brackets and exact values of a list of two or more numbers, else None."""
    begin = end = ""
    for opening, closing in _BRACKETS:
        if text.startswith(opening) and text.endswith(closing):
            begin, end = opening, closing
    inner = text[len(begin) : len(text) - len(end)]
    parts = _LIST.split(inner)
    if not 2 <= len(parts) <= 50:
        return None
    values = [exact.rational(part) for part in parts]
    known = [value for value in values if value is not None]
    return (begin, known, end) if len(known) == len(values) else None


def _decide_words(mine: str, gold: str) -> tuple[Method, bool] | None:
    """Their keys differ, so words and single letters do, too."""
    are_letters = _ONE_LETTER.fullmatch(mine) and _ONE_LETTER.fullmatch(gold)
    if are_letters or spelling.is_words(gold) or spelling.is_words(mine):
        return "exact", False
    return None


def _has_lone_letters(text: str) -> bool:
    """Whether a variable stands in `text` just once, so that it cannot cancel."""
    if _BINDS.search(text):
        return False
    found = [one for one in _LETTERS.findall(text) if len(one) == 1 and one not in "ei"]
    return any(found.count(one) == 1 for one in found)
