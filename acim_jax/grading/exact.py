"""Exact values of the plain numbers that most answers are: integers, decimals, fractions, powers.

A whitelisting tokenizer and a small recursive parser over `fractions.Fraction`. Nothing is
evaluated as code, and the size of every number is bounded before it is computed.
"""

import math
import operator
import re
from fractions import Fraction

MAX_CHARS = 400
MAX_DIGITS = 4000
_MAX_BITS = 40_000
_MAX_EXPONENT = 20_000
_MAX_FACTORIAL = 1000
_MAX_DEPTH = 40

_INTEGER = re.compile(r"[+-]?\d+")
_MIXED = re.compile(r"(-?)(\d{1,50})\s+(\d{1,50})/(\d{1,50})")
_TOKEN = re.compile(
    r"(?P<root>\\sqrt\s*\[\d{1,2}\])"
    r"|(?P<repeating>\d*\.\d*\\overline\{\d+\})"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3}(?!\d))?)"
    r"|(?P<command>\\frac|\\sqrt)"
    r"|(?P<times>\\cdot|\\times|\*)"
    r"|(?P<modulo>\\bmod(?![A-Za-z]))"
    r"|(?P<divide>\\div|/)"
    r"|(?P<symbol>[-+^!(){}])"
    r"|(?P<unknown>\S)"
)

_END = ("end", "")
_SUMS = {"+": operator.add, "-": operator.sub}
_PRODUCTS = {"times": operator.mul, "modulo": operator.mod, "divide": operator.truediv}


class _NotExactError(Exception):
    """The text is no closed rational expression, or its value is too large to compute."""


def rational(text: str) -> Fraction | None:
    r"""The exact value of a number or of a short arithmetic expression, else None.

    Reads integers of up to 4000 digits, decimals, `1.5e3`, `0.\overline{3}`, `a/b`, `\frac{a}{b}`,
    mixed numbers (`1\frac{1}{2}`, `1 1/2`), `+ - * / ^ !`, brackets, roots of perfect squares.
    """
    text = text.strip()
    if not text.isascii():  # `\d` and `int` also know the digits of other scripts
        return None
    if _INTEGER.fullmatch(text):
        return Fraction(int(text)) if len(text) <= MAX_DIGITS else None
    if not text or len(text) > MAX_CHARS:
        return None
    try:
        if mixed := _MIXED.fullmatch(text):
            sign, whole, top, bottom = mixed.groups()
            value = int(whole) + Fraction(int(top), int(bottom))
            return -value if sign else value
        parser = _Parser(text)
        value = parser.sum(0)
        return value if parser.peek() == _END else None
    except (_NotExactError, ZeroDivisionError):
        return None


def decimals(text: str) -> int | None:
    """Digits behind the decimal point of a number that is written with one or with an exponent, so
    possibly rounded; else None. In an expression, those of its last decimal."""
    found = re.findall(r"\d*\.(\d+)(?:[eE]([+-]?\d{1,3}))?|\d[eE]([+-]?\d{1,3})", text)
    if not found or "\\overline" in text:
        return None
    digits, exponent, other = found[-1]
    return len(digits) - int(exponent or other or "0")


class _Parser:
    """sum → product → signed → power → atom, each one method."""

    def __init__(self, text: str) -> None:
        tokens = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text)]
        _require(all(kind != "unknown" for kind, _ in tokens))
        self._tokens, self._next = [*tokens, _END], 0

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._next]

    def _take(self, text: str) -> bool:
        found = self.peek()[1] == text
        self._next += found
        return found

    def _group(self, closing: str, depth: int) -> Fraction:
        """A sum up to its closing bracket; the opening one is read."""
        value = self.sum(depth + 1)
        _require(self._take(closing))
        return value

    def sum(self, depth: int) -> Fraction:
        _require(depth <= _MAX_DEPTH)
        value = self._product(depth)
        while (sign := self.peek()[1]) in _SUMS:
            self._next += 1
            value = _bounded(_SUMS[sign](value, self._product(depth)))
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._signed(depth)
        divided = False
        while True:
            kind, text = self.peek()
            if kind in _PRODUCTS:
                self._next += 1
                value = _bounded(_PRODUCTS[kind](value, self._signed(depth)))
                divided = divided or kind == "divide"
            elif text == "(" or kind in ("command", "root"):
                _require(not divided)  # 1/2(3) can be read in two ways
                value = _bounded(value * self._power(depth))
            else:
                return value

    def _signed(self, depth: int) -> Fraction:
        _require(depth <= _MAX_DEPTH)
        if self._take("-"):
            return -self._signed(depth + 1)
        return self._signed(depth + 1) if self._take("+") else self._power(depth)

    def _power(self, depth: int) -> Fraction:
        base = self._atom(depth)
        while self._take("!"):
            _require(base.denominator == 1 and 0 <= base <= _MAX_FACTORIAL)
            base = Fraction(math.factorial(int(base)))
        if not self._take("^"):
            return base
        exponent = self._signed(depth + 1)
        _require(exponent.denominator == 1 and abs(exponent) <= _MAX_EXPONENT)
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        _require(size * abs(exponent) <= _MAX_BITS and (base != 0 or exponent > 0))
        return base ** int(exponent)

    def _atom(self, depth: int) -> Fraction:
        kind, text = self.peek()
        self._next += 1
        match kind, text:
            case "number", _:
                return self._with_fraction(text, depth)
            case "repeating", _:
                return _repeating(text)
            case _, "(":
                return self._group(")", depth)
            case _, "{":
                return self._group("}", depth)
            case _, "\\frac":
                top = self._argument(depth)
                return _bounded(top / self._argument(depth))
            case _, "\\sqrt":
                return _exact_root(self._argument(depth), 2)
            case "root", _:
                degree = int(text.partition("[")[2].rstrip("]"))
                return _exact_root(self._argument(depth), degree)
            case _:
                raise _NotExactError

    def _with_fraction(self, text: str, depth: int) -> Fraction:
        r"""A number; directly before a proper `\frac` of digits it is the whole of a mixed one."""
        value, start = Fraction(text), self._next
        if text.isdigit() and self._take("\\frac"):
            top, bottom = self._argument(depth), self._argument(depth)
            if top.denominator == bottom.denominator == 1 and 0 < top < bottom:
                return value + top / bottom
        self._next = start
        return value

    def _argument(self, depth: int) -> Fraction:
        """A braced argument, or the single digit of a LaTeX shorthand such as `\\frac12`."""
        if self._take("{"):
            return self._group("}", depth)
        kind, text = self.peek()
        _require(kind == "number" and text.isdigit())
        if len(text) == 1:
            self._next += 1
        else:
            self._tokens[self._next] = ("number", text[1:])
        return Fraction(int(text[0]))


def _repeating(text: str) -> Fraction:
    start, _, period = text.removesuffix("}").partition("\\overline{")
    whole, _, fixed = start.partition(".")
    shift = 10 ** len(fixed)
    value = Fraction(int(whole or "0")) + Fraction(int(fixed or "0"), shift)
    return value + Fraction(int(period), (10 ** len(period) - 1) * shift)


def _exact_root(value: Fraction, degree: int) -> Fraction:
    """The root where it is rational; the real one of a negative number if the degree is odd."""
    _require(degree > 0 and (value >= 0 or degree % 2 == 1))
    top = _integer_root(abs(value.numerator), degree)
    bottom = _integer_root(value.denominator, degree)
    return Fraction(-top if value < 0 else top, bottom)


def _integer_root(value: int, degree: int) -> int:
    """By bisection on the bits: exact at any size."""
    if degree == 2:
        root = math.isqrt(value)
    else:
        root = 0
        for bit in reversed(range(value.bit_length() // degree + 1)):
            if (root | 1 << bit) ** degree <= value:
                root |= 1 << bit
    _require(root**degree == value)
    return root


def _bounded(value: Fraction) -> Fraction:
    _require(max(value.numerator.bit_length(), value.denominator.bit_length()) <= _MAX_BITS)
    return value


def _require(holds: bool) -> None:
    if not holds:
        raise _NotExactError
