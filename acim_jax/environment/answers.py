r"""Is a response's answer right? Extraction, exact comparison, then symbolic comparison.

Policy, where graders differ:

- the last balanced `\boxed{…}` is the answer; without one, what follows the last `####` or
  `answer is`, else the whole response if it is short;
- numbers are compared exactly, as fractions; only if the reference answer itself is a decimal,
  a relative difference of 1e-6 is allowed (the reference may be rounded, a prediction may not);
- a percent sign on one side only: `5%` is right for both `5` (a unit) and `0.05` (its value);
- units, money and degree signs are dropped, except that two different physical units disagree;
- `x = 5` is `5`; a list without brackets is a set; brackets and their kind otherwise count;
- words are compared without regard to case, symbols are not.

No text is ever evaluated as code in this process. What the exact part cannot decide goes to
Math-Verify in a child that can be killed (`Executor.compare`).
"""

import concurrent.futures
import dataclasses
import re
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from acim_jax.environment import exact, spelling
from acim_jax.environment.executor import Comparison, Executor
from acim_jax.records import Status

Method = Literal["exact", "numeric", "symbolic", "timeout", "none"]

DECIMAL_TOLERANCE = Fraction(1, 10**6)
_MAX_CHARS = 1000
_MAX_BARE_CHARS = 64
_MAX_BOXES = 64
_MAX_NESTING = 30  # the symbolic parser is exponential in it

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
# Every repetition of blanks is bounded: a hostile response must not cost quadratic time.
_MARKED = re.compile(
    r"####[ \t]{0,9}(.+)|\banswer\b[^.\n:=]{0,40}?(?:\bis\b|:|=)[ \t]{0,9}:?[ \t]{0,9}(.+)",
    re.IGNORECASE,
)
_STATEMENT_END = re.compile(r"\.(?:\s|$)|,\s(?=[A-Za-z])|\s(?:because|since|as)\s")
_PLAIN_NUMBER = re.compile(r"[+-]?[\d,]{1,5000}(?:\.\d{1,5000})?")
_NO_NUMBER = re.compile(r"^(?!.*\\(?:max|min|gcd|lcm)).*,|^\w+_\{?\d", re.DOTALL)
_ONLY_DIGITS = re.compile(r"[-+\d./ ]+")
_WITH_BASE = re.compile(r"([0-9A-Za-z]{1,100})_\{?(\d{1,2})\}?")
_LETTERS = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_LIST = re.compile(r"\s*(?:,\s*(?:and|or)\s|,|\s(?:and|or)\s)\s*")


@dataclasses.dataclass(frozen=True)
class Grade:
    """method: what decided. `timeout`: the symbolic comparison ran out of time (not correct).
    `none`: nothing to grade, or no symbolic comparison was to be had. wall_s: seconds spent."""

    correct: bool
    extracted: str | None
    method: Method
    wall_s: float


def extract_answer(text: str) -> str | None:
    """The answer that a response states, or None."""
    boxes = list(_BOX.finditer(text))
    for match in reversed(boxes[-_MAX_BOXES:]):
        content = _braced(text, match.end())
        if content is not None:
            return content.strip()
    if boxes:
        return None  # a box that never closes is no answer
    marked = list(_MARKED.finditer(text))
    if marked:
        found = next(group for group in marked[-1].groups() if group is not None)
        return _STATEMENT_END.split(found.strip().strip("*"), maxsplit=1)[0].strip() or None
    bare = text.strip()
    words = re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", bare)
    if bare and len(bare) <= _MAX_BARE_CHARS and "\n" not in bare and len(words) <= 3:
        return bare
    # A long number is short in words.
    return bare if _PLAIN_NUMBER.fullmatch(bare) else None


def _braced(text: str, start: int) -> str | None:
    r"""The content of the brace group at `start`, or the one token of `\boxed 5`; else None."""
    if not text.startswith("{", start):
        token = re.match(r"[-+]?[\d.,/]*\d", text[start : start + 100])
        return token.group() if token else None
    depth, position = 0, start
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        position = match.end()
        if depth == 0:
            return text[start + 1 : position - 1]
    return None


def grade(prediction: str, answer: str, executor: Executor | None, timeout_s: float = 5.0) -> Grade:
    """Grades one whole response against the reference answer.

    executor: runs symbolic comparisons; with None, what needs one is not correct (`none`).
    """
    return grade_all([(prediction, answer)], executor, timeout_s)[0]


def grade_all(
    pairs: Sequence[tuple[str, str]], executor: Executor | None, timeout_s: float = 5.0
) -> list[Grade]:
    """Grades (response, reference answer) pairs; symbolic comparisons run side by side, and equal
    ones once."""
    grades: list[Grade] = []
    waiting: dict[tuple[str, str], concurrent.futures.Future[Comparison]] = {}
    for prediction, answer in pairs:
        begin = time.perf_counter()
        extracted = extract_answer(prediction)
        verdict = decide(extracted, answer)
        method, correct = verdict or ("none", False)
        if verdict is None and executor is not None and extracted is not None:
            question = (spelling.clean(extracted), spelling.clean(answer))
            if question not in waiting:
                waiting[question] = executor.compare(*question, timeout_s)
            method = "symbolic"
        grades.append(Grade(correct, extracted, method, time.perf_counter() - begin))
    for index, (first, (_, answer)) in enumerate(zip(grades, pairs, strict=True)):
        if first.method == "symbolic":
            question = (spelling.clean(first.extracted or ""), spelling.clean(answer))
            grades[index] = _with_comparison(first, waiting[question].result())
    return grades


def _with_comparison(first: Grade, comparison: Comparison) -> Grade:
    method: Method = "timeout" if comparison.status is Status.TIMEOUT else "symbolic"
    wall_s = first.wall_s + comparison.wall_s
    return dataclasses.replace(first, correct=comparison.equal, method=method, wall_s=wall_s)


def decide(extracted: str | None, answer: str) -> tuple[Method, bool] | None:
    """What can be said without symbolic computation: (method, correct), or None."""
    if not extracted:
        return "none", False
    if extracted == answer:
        return "exact", True
    if len(extracted) > _MAX_CHARS and not _PLAIN_NUMBER.fullmatch(extracted):
        return "exact", False
    if _nesting(extracted) > _MAX_NESTING:
        return "exact", False
    mine, gold = spelling.clean(extracted), spelling.clean(answer)
    if not mine or not gold:
        return "none", False
    if spelling.key(mine) == spelling.key(gold):
        return "exact", True
    if not ("=" in mine and "=" in gold):
        mine, gold = spelling.unassigned(mine), spelling.unassigned(gold)
        if spelling.key(mine) == spelling.key(gold):
            return "exact", True
    return _decide_numbers(mine, gold) or _decide_lists(mine, gold) or _decide_words(mine, gold)


def _decide_numbers(mine: str, gold: str) -> tuple[Method, bool] | None:
    a, b = spelling.quantity(mine), spelling.quantity(gold)
    if a is not None and b is not None:
        if not spelling.units_agree(a.unit, b.unit):
            return "exact", False
        scales = [Fraction(1)]
        if a.is_percent != b.is_percent:
            scales.append(Fraction(1, 100) if a.is_percent else Fraction(100))
        if any(a.value * scale == b.value for scale in scales):
            return "exact", True
        if b.is_decimal:
            room = DECIMAL_TOLERANCE * abs(b.value)
            return "numeric", any(abs(a.value * scale - b.value) <= room for scale in scales)
        return "exact", False
    if (first := _WITH_BASE.fullmatch(mine)) and (second := _WITH_BASE.fullmatch(gold)):
        return "exact", _in_base(*first.groups()) == _in_base(*second.groups())
    # A number is never equal to something with free letters, a list, or a base as index.
    number, other = (a, gold) if a is not None else (b, mine)
    if number is not None and (_has_letters(other) or _NO_NUMBER.search(other)):
        return "exact", False
    if number is not None and _ONLY_DIGITS.fullmatch(other):
        return "exact", False  # 5/0, 1.2.3, or too many digits to be equal to what was read
    return None


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
    if a_begin and b_begin:
        return "exact", (a_begin, a_end) == (b_begin, b_end) and a_values == b_values
    return None


def _items(text: str) -> tuple[str, list[Fraction], str] | None:
    """Brackets and exact values of a list of two or more numbers, else None."""
    begin = end = ""
    for opening, closings in (("\\{", ("\\}",)), ("(", (")", "]")), ("[", ("]", ")"))):
        for closing in closings:
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
    one_letter = re.compile(r"\(?[A-Za-z]\)?")
    if one_letter.fullmatch(mine) and one_letter.fullmatch(gold):
        return "exact", False
    if spelling.is_words(gold) or spelling.is_words(mine):
        return "exact", False  # their keys differ
    return None


def _nesting(text: str) -> int:
    deepest = depth = 0
    for bracket in re.findall(r"[(\[{)\]}]", text):
        depth += 1 if bracket in "([{" else -1
        deepest = max(deepest, depth)
    return deepest


def _has_letters(text: str) -> bool:
    """Whether letters stand in `text` that are neither commands nor the constants e and i."""
    return any(len(found) == 1 and found not in "ei" for found in _LETTERS.findall(text))
