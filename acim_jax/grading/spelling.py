"""Spelling of answers: LaTeX markup removed, units and percent signs split from numbers."""

import functools
import itertools
import re
from fractions import Fraction
from typing import NamedTuple

from acim_jax.grading import exact, units

#: The one spelling of all dots that leave something out.
OMISSION = "…"
_CHARACTERS = str.maketrans({
    "−": "-", "–": "-", "×": "*", "·": "*", "÷": "/", "⁄": "/", "π": "\\pi ", "∞": "\\infty ",
    "²": "^2", "³": "^3", "½": "\\frac{1}{2}", "¢": " cents", "\u00a0": " ", "\u202f": " ",
    "≤": "\\le ", "≥": "\\ge ", "≠": "\\neq ", "≈": "\\approx ", "∈": "\\in ", "∪": "\\cup ",
    "∅": "\\emptyset ", "∠": "\\angle ", "ℝ": "\\mathbb{R}",
})  # fmt: skip
_DEGREE = r"\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?|\\degree(?![A-Za-z])|°"
_FONTS = "text|textbf|textit|textrm|mbox|mathrm|mathbf|underline|operatorname"
_REWRITES = (
    (r"\\(?:left|right|displaystyle|limits|big|Big|bigl|bigr|Bigl|Bigr)(?![A-Za-z])", ""),
    (r",\\!\s*", ","),
    # Not behind a backslash: two of them end a row of a matrix.
    (r"(?<!\\)\\[!,;:>]|\\(?:quad|qquad|thinspace)(?![A-Za-z])", ""),
    (r"(?<!\\)\\ |~", " "),
    (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    (rf"\\(?:{_FONTS})\s*\{{([^{{}}]*)\}}", r" \1 "),
    (r"\\overline\s*\{([A-Z]{2})\}", r"\1"),
    (r"\\(?:text)?color\s*\{[a-z]{1,20}\}", ""),
    (r"(?<=\S)\s*\\tag\{[^{}]*\}\s*$", ""),
    (r"(?<=\d)\s*\^\s*\{\s*(?:st|nd|rd|th)\s*\}", ""),
    (r"(?i:^\s*infinity\s*$)", r"\\infty "),
    (r"(?i:^\s*all real numbers\s*$)", r"\\mathbb{R}"),
    (r"(?<=\S)\s+\^", "^"),
    (r"√\s*(\d{1,50}|[a-z])", r"\\sqrt{\1}"),
    (r"√\s*[({]([^(){}]{1,100})[)}]", r"\\sqrt{\1}"),
    (rf"(?<=[\d}}])\s*(?:{_DEGREE})\s*[CF]?\s*$", " degrees"),
    (_DEGREE, " "),
    (r"\\(?:[lch]?dots|dots[bcimo])(?![A-Za-z])|\.(?:\s?\.){2,}|⋯", OMISSION),
    (r"\\(?:leq|le|leqslant)(?![A-Za-z])|<=", r"\\le "),
    (r"\\(?:geq|ge|geqslant)(?![A-Za-z])|>=", r"\\ge "),
    (r"^\s*\\?\$\s*([\d,]{1,50}(?:\.\d{1,20})?)[.,]?\s*$", r"\1 dollars"),
    (r"\\[$€£]|[$€£]", ""),
    (r"\\mathbb\s*R|\\(?:R|Reals|reals)(?![A-Za-z])", r"\\mathbb{R}"),
    (r"(?<=\\mathbb\{R\})\s*(?:-|\\backslash|\\smallsetminus)\s*(?=\\\{)", r"\\setminus"),
    (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
    (r"^\s*(?:\\approx(?![A-Za-z])|approximately\s|about\s|=)", ""),
    (r"(?i:^\s*(?:the\s+)?(?:final\s+)?answer(?:\s+is|\s*:)\s)", ""),
    (r"\\%", "%"),
    (r"\{,\}", ","),
    (r"\*\*", "^"),
)
_ANGLE_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_ANGLE = re.compile(rf"(\d{{1,10}})\s*(?:{_DEGREE})")
_FENCES = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))
_SPACED_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,])")
_SHORT_GROUP = re.compile(r"([_^])\{([A-Za-z0-9])\}")
_UNIT_WORD = r"[A-Za-z]{1,20}\.?(?:\^\{?[23]\}?)?"
_WITH_UNIT = re.compile(
    rf"(?P<number>.*?[\d}}).!])(?P<gap>\s*)(?P<unit>{_UNIT_WORD}(?:(?:\s*/\s*|\s+){_UNIT_WORD}){{0,4}})"
)
_CHOICE = re.compile(r"(?:[Oo]ption |[Cc]hoice )?\(?([A-J])(?:(\)|\.|:)(?:\s*(.*))?)?")
_OTHER_CHOICE = re.compile(r"\b[A-J]\b|\b(?:and|or)\b")


class Quantity(NamedTuple):
    """A number as it was written. unit: "" without one. decimals: digits after the decimal point,
    None without a point. A number with one may be rounded."""

    value: Fraction
    unit: str
    is_percent: bool
    decimals: int | None


@functools.lru_cache(maxsize=4096)
def clean(text: str) -> str:
    """An answer without delimiters, spacing, fonts, money and degree signs."""
    text = text.translate(_CHARACTERS).strip()
    before = ""
    while text != before:
        before = text
        for begin, end in _FENCES:
            if text.startswith(begin) and text.endswith(end) and len(text) > len(begin + end):
                inner = text[len(begin) : -len(end)]
                if begin not in inner and end not in inner:
                    text = inner.strip()
    if _ANGLE_FUNCTION.search(text):
        text = _ANGLE.sub(r"{\\frac{\1\\pi}{180}}", text)
    for pattern, replacement in _REWRITES:
        text = re.sub(pattern, replacement, text)
    text = _SHORT_GROUP.sub(r"\1\2", text.strip().rstrip(".,;:").strip())
    if _SPACED_THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    if not re.search(r"[(\[{]", text):
        text = _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)
    return text


def key(text: str) -> str:
    """A normal form that equal spellings share; `text` is cleaned."""
    # A space between digits stays: 1 1/2 is not 11/2.
    compact = re.sub(r"\s+(?!\d)|(?<!\d)\s+", "", text)
    if choice := re.fullmatch(r"\(([A-Za-z])\)", compact):
        return choice.group(1)
    # Words are compared without regard to case, symbols are not.
    return compact.casefold() if is_words(text) and not _is_product(text) else compact


def choice(text: str) -> str | None:
    """The letter of a cleaned answer to a multiple choice: `B`, `(B)`, `(B) 32`, `B. 32`."""
    match = _CHOICE.fullmatch(text)
    return match[1] if match and not _OTHER_CHOICE.search(match[3] or "") else None


def is_words(text: str) -> bool:
    """Whether a cleaned answer is plain words (three letters or more), not mathematics."""
    return len(text) >= 3 and re.fullmatch(r"[A-Za-z]{2,}(?:[ '-]+[A-Za-z]+)*", text) is not None


def _is_product(text: str) -> bool:
    """Whether up to four letters are factors or points rather than a word: abc, XYZ, mgh."""
    letters = text.lower()
    in_order = all(one < other for one, other in itertools.pairwise(letters))
    is_uniform = text in (letters, text.upper())
    return len(text) <= 4 and is_uniform and (in_order or not set(letters) & set("aeiouy"))


def quantity(text: str) -> Quantity | None:
    """The number that a cleaned answer states, with its unit or percent sign, else None."""
    number, unit = text.removesuffix("%").rstrip(), "%" if text.endswith("%") else ""
    value = exact.rational(number)
    match = _WITH_UNIT.fullmatch(text) if value is None and len(text) <= exact.MAX_CHARS else None
    if match:
        number = match["number"].strip()
        unit = units.canonical(match["unit"], is_apart=bool(match["gap"]))
        value = exact.rational(number) if unit else None
    if value is None:
        return None
    is_percent = unit in ("%", "percent", "percentage")
    return Quantity(value, "" if is_percent else unit, is_percent, exact.decimals(number))
