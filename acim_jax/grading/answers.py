r"""Is an extracted answer right? What can be decided exactly; the rest is left to `symbolic.py`.

Where graders differ, `GraderConfig` decides; docs/grading.md states the rules. Numbers are compared
as fractions. Only a decimal reference answer may be rounded, so it alone has a tolerance. No text
is evaluated as code.
"""

import dataclasses
import re
from fractions import Fraction
from typing import Literal

from acim_jax.grading import assignments, exact, guards, relations, spelling, units
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.extraction import PLAIN_NUMBER

Method = Literal["exact", "numeric", "symbolic", "timeout", "none"]
Verdict = tuple[Method, bool]

DECIMAL_TOLERANCE = Fraction(1, 10**6)

_NO_NUMBER = re.compile(r"^(?!.*\\(?:max|min|gcd|lcm)).*,|^\w+_\{?\d", re.DOTALL)
_ONLY_DIGITS = re.compile(r"[-+\d./ ]+")
_WITH_BASE = re.compile(r"([0-9A-Za-z]{1,100})_\{?(\d{1,2})\}?")
_BINDS = re.compile(r"\\(?:int|sum|prod|lim)(?![A-Za-z])")
_ONE_LETTER = re.compile(r"\(?[A-Za-z]\)?")
_LETTERS = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_BRACKETS = (("\\{", "\\}"), ("(", ")"), ("(", "]"), ("[", "]"), ("[", ")"))
_LIST = re.compile(r"\s*(?:,\s*(?:and|or)\s|,|\s(?:and|or)\s)\s*")

_DEFAULTS = GraderConfig()


@dataclasses.dataclass(frozen=True)
class Grade:
    """method: what decided. `timeout`: the symbolic comparison ran out of time (not correct).
    `none`: nothing to grade, or too large to compare. infra: the comparison failed on our side."""

    correct: bool
    extracted: str | None
    method: Method
    wall_s: float
    infra: bool = False


def decide(extracted: str | None, answer: str, policy: GraderConfig = _DEFAULTS) -> Verdict | None:
    """What needs no symbolic computation: (method, correct); else None."""
    if extracted and extracted == answer:
        return "exact", True
    if not extracted or (
        len(extracted) > guards.MAX_CHARS and not PLAIN_NUMBER.fullmatch(extracted)
    ):
        return "none", False
    mine, gold = spelling.clean(extracted), spelling.clean(answer)
    if not mine or not gold:
        return "none", False
    if spelling.key(mine) == spelling.key(gold):
        return "exact", True
    mine, gold = comparable(extracted, answer)
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


def comparable(extracted: str, answer: str) -> tuple[str, str]:
    """Prediction and reference, cleaned, without names, inequalities as sets if both can be."""
    mine, gold = spelling.clean(extracted), spelling.clean(answer)
    return relations.comparable(*assignments.without_names(mine, gold))


def _decide_form(mine: str, gold: str) -> Verdict | None:
    """Choices by their letter; texts that are no answer, or that end in dots."""
    if (letter := spelling.choice(gold)) and (chosen := spelling.choice(mine)):
        return "exact", letter == chosen
    if spelling.OMISSION in mine or spelling.OMISSION in gold:
        # What is left out cannot be compared: they are equal as texts, or not.
        mine, gold = (text.removeprefix("\\{").removesuffix("\\}") for text in (mine, gold))
        return "exact", spelling.key(mine) == spelling.key(gold)
    sides = assignments.sides_of(mine)
    if len(sides) == 1 or "=" in gold:
        return None
    # 2 + 3 = 6 is no value. Nor is n(n+1) = 6, which is still to be solved.
    is_unsolved = len(sides) == 2 and spelling.quantity(gold) is not None
    return ("exact", False) if is_unsolved or not _LETTERS.search(sides[0]) else None


def _decide_numbers(mine: str, gold: str, policy: GraderConfig) -> Verdict | None:
    a, b = spelling.quantity(mine), spelling.quantity(gold)
    if a and b:
        return _compare(a, b, policy)
    if (first := _WITH_BASE.fullmatch(mine)) and (second := _WITH_BASE.fullmatch(gold)):
        return "exact", _in_base(*first.groups()) == _in_base(*second.groups())
    if not a and not b:
        return None
    # A number is never equal to something with free letters, a list, or a base as index, nor to
    # what looks like one and is not read: 5/0, 1.2.3, too many digits.
    other = gold if a else mine
    is_none = _has_lone_letters(other) or _NO_NUMBER.search(other) or _ONLY_DIGITS.fullmatch(other)
    return ("exact", False) if is_none else None


def _compare(a: spelling.Quantity, b: spelling.Quantity, policy: GraderConfig) -> Verdict:
    """The prediction `a` may be rounded, or scaled by a percent sign that only one of them has."""
    one_is_share = (a.is_percent and b.unit) or (b.is_percent and a.unit)
    ratio = None if one_is_share else units.ratio(a.unit, b.unit)
    if ratio is None:
        return "exact", False
    values = [a.value * ratio]
    if a.is_percent != b.is_percent and policy.percent != "unit":
        scaled = values[0] * (Fraction(1, 100) if a.is_percent else 100)
        values = [scaled] if policy.percent == "value" else [*values, scaled]
    if b.value in values:
        return "exact", True
    if b.decimals is None or policy.rounding == "exact":
        return "exact", False
    room = DECIMAL_TOLERANCE * abs(b.value)
    if policy.rounding == "digits":
        room = Fraction(1, 2) / Fraction(10) ** b.decimals
    return "numeric", any(abs(value - b.value) <= room for value in values)


def _in_base(digits: str, base: str) -> int | str:
    try:
        return int(digits, int(base))
    except ValueError:  # a digit that the base lacks: an index, not a base
        return f"{digits}_{base}"


def _decide_lists(mine: str, gold: str) -> Verdict | None:
    a, b = _items(mine), _items(gold)
    if a is None or b is None:
        return None
    (a_begin, a_values, a_end), (b_begin, b_values, b_end) = a, b
    if a_begin in ("", "\\{") and b_begin in ("", "\\{"):
        return "exact", set(a_values) == set(b_values)
    if {a_begin, b_begin} == {"", "("} and a_end in ("", ")") and b_end in ("", ")"):
        return "exact", a_values == b_values
    return ("exact", a == b) if a_begin and b_begin else None


def _items(text: str) -> tuple[str, list[Fraction], str] | None:
    """Brackets and exact values of a list of two or more numbers, else None."""
    begin = end = ""
    for opening, closing in _BRACKETS:
        if text.startswith(opening) and text.endswith(closing):
            begin, end = opening, closing
    parts = _LIST.split(text[len(begin) : len(text) - len(end)])
    if not 2 <= len(parts) <= 50:
        return None
    values = [value for part in parts if (value := exact.rational(part)) is not None]
    return (begin, values, end) if len(values) == len(parts) else None


def _decide_words(mine: str, gold: str) -> Verdict | None:
    """Their keys differ, so words and single letters do, too."""
    are_letters = _ONE_LETTER.fullmatch(mine) and _ONE_LETTER.fullmatch(gold)
    is_wrong = are_letters or spelling.is_words(gold) or spelling.is_words(mine)
    return ("exact", False) if is_wrong else None


def _has_lone_letters(text: str) -> bool:
    """Whether a variable stands in `text` just once, so that it cannot cancel."""
    if _BINDS.search(text):
        return False
    found = [one for one in _LETTERS.findall(text) if len(one) == 1 and one not in "ei"]
    return any(found.count(one) == 1 for one in found)
