r"""The value in `x = 5`, `\angle A = 40^\circ`, `P(X=2) = 0.3`, `a+b = 7` and `3+4 = 7`."""

import itertools
import re

from acim_jax.grading import exact, spelling

_INDEX = r"(?:_(?:\w|\\[A-Za-z]{1,20}|\{[^{}]{1,30}\}))?"
_SYMBOL = rf"(?:[A-Za-z]|\\[a-z]{{1,20}}){_INDEX}'{{0,3}}"  # x, x_1, f', \theta, x_{\max}
_ACCENT = r"\\(?:vec|bar|hat|tilde|overline|overrightarrow)\s*\{?\s*[A-Za-z]{1,2}\s*\}?"
_ANGLE = rf"\\(?:measured)?angle\s*(?:[A-Z]{{1,3}}|\d{{1,2}}|{_SYMBOL})"
_EVENTS = r"[A-Z]'?(?:\s*\\(?:cap|cup|setminus)\s*[A-Z]'?){0,5}"
_BAR = r"(?:\\?\||\\[lr][vV]ert(?![a-z]))"
_NAME = re.compile(
    rf"\s*(?:{_SYMBOL}|{_ACCENT}"
    rf"|m?\s*{_ANGLE}|m?\s*\(\s*{_ANGLE}\s*\)"
    r"|[A-Za-z]\([\w, ]{1,20}\)"  # f(x), P(A)
    r"|[fgFG]'{0,3}\([^()]{1,30}\)"
    r"|(?:\\[a-z]{1,20}\s*)?[A-Z]{2,5}|\[[A-Z]{3,6}\]"  # \triangle ABC, AB; [ABC] is an area
    rf"|{_BAR}\s*(?:{_SYMBOL}|{_ACCENT}|[A-Z]{{2}}|{_EVENTS})\s*{_BAR}"
    r"|\\(?:sin|cos|tan|cot|sec|csc)(?:\^2)?\s*"
    rf"(?:\d?\s*(?:[A-Z]{{3}}|{_ANGLE}|{_SYMBOL})|\(\s*\d?\s*(?:{_ANGLE}|{_SYMBOL})\s*\))"
    r"|(?:P|E|Pr|Var|\\Pr|\\mathbb\{[PE]\})\s*[(\[](?:[^()\[\]]|\([^()]{1,20}\)){1,40}[)\]]"
    rf"|[nN]\(\s*{_EVENTS}\s*\)"
    r"|\\(?:det|dim|deg|gcd|lcm|max|min)\s*(?:[A-Za-z]|\([A-Za-z, ]{1,20}\))"
    r"|[A-Za-z][A-Za-z ]{2,40}(?:\\(?:triangle|angle)\s*[A-Z]{1,5})?)\s*"  # area
)
_MEMBER = re.compile(r"(?P<name>[^=]{1,60}?)\\in(?![A-Za-z])\s*(?P<value>[^=]+)")
_BRACKET = re.compile(r"[(\[{)\]}=]")
_PLAIN = re.compile(r"\s*[-+]?[\d.,]+\s*")
#: Sums, products, quotients, powers and roots of symbols; closed numbers.
_EXPRESSION = re.compile(
    rf"(?:{_ANGLE}|\\(?:frac|sqrt|cdot|times|overline|sin|cos|tan|log|ln)(?![A-Za-z])"
    rf"|{_SYMBOL}|[-+*/^(){{}}|'\d\s])+"
)
_COMMAND = re.compile(r"\\(?:frac|sqrt|cdot|times|overline|angle|sin|cos|tan|log|ln)(?![A-Za-z])")
_CLOSED = re.compile(r"(?:\\(?:frac|sqrt|cdot|times|pi)(?![A-Za-z])|[-+*/^(){}\d.\s])+")


def without_names(mine: str, gold: str) -> tuple[str, str]:
    """The two cleaned answers without the name that a value is given to.

    If both have one, the names count: x = 2 is not y = 2. A sum or the like of several symbols is
    a name in the prediction only: as a reference, x + y = 1 is a line.
    """
    first, second = sides_of(mine), sides_of(gold)
    if len(first) == 1 or len(second) == 1:
        return _value(mine, first, may_be_expression=True), _value(gold, second)
    are_alike = len(first) == len(second) == 2 and spelling.key(first[0]) == spelling.key(second[0])
    if are_alike and spelling.quantity(first[1].strip()) and spelling.quantity(second[1].strip()):
        return first[1].strip(), second[1].strip()
    return mine, gold


def sides_of(text: str) -> list[str]:
    """The text split at its equals signs, except for those in brackets."""
    if "=" not in text:
        return [text]
    depth, begin, sides = 0, 0, []
    for match in _BRACKET.finditer(text):
        depth += {"=": 0}.get(match.group(), 1 if match.group() in "([{" else -1)
        if match.group() == "=" and depth == 0:
            sides.append(text[begin : match.start()])
            begin = match.end()
    return [*sides, text[begin:]]


def _value(text: str, sides: list[str], *, may_be_expression: bool = False) -> str:
    if len(sides) == 1:
        member = _MEMBER.fullmatch(text)
        return member["value"].strip() if member and _NAME.fullmatch(member["name"]) else text
    values = list(itertools.dropwhile(_NAME.fullmatch, sides[:-1])) + sides[-1:]
    if len(values) == 1 and (len(sides) == 2 or _is_number(values[0])):
        return values[0].strip() or text
    if len(sides) == 2 and re.fullmatch(r"\s*[A-Za-z]\s*", sides[1]):
        return sides[0].strip() or text
    if _are_equal(values):
        return values[-1].strip()
    if may_be_expression and len(sides) == 2 and _is_expression(sides[0]) and _is_number(sides[1]):
        return sides[1].strip()
    return text


def _are_equal(sides: list[str]) -> bool:
    """Whether 3 + 4 = 7 holds, by numbers of which one at least is computed: 5 = 5 says nothing."""
    if all(map(_PLAIN.fullmatch, sides)):
        return False
    last = spelling.quantity(sides[-1].strip())
    return last is not None and all(exact.rational(side) == last.value for side in sides[:-1])


def _is_expression(text: str) -> bool:
    """Whether it holds two symbols or more; an equation in one would be solved for it."""
    symbols = {*re.findall(_SYMBOL, _COMMAND.sub(" ", text))} - {"e", "i", "\\pi"}
    return len(symbols) > 1 and len(text) <= 100 and _EXPRESSION.fullmatch(text) is not None


def _is_number(text: str) -> bool:
    return spelling.quantity(text.strip()) is not None or _CLOSED.fullmatch(text) is not None
