"""Answers that are too long, too deep or too large for a symbolic comparison.

The cost is estimated from the text; what is missed here still meets the deadline of the child.
"""

import itertools
import re

from acim_jax.grading import exact

MAX_CHARS = 1000
_MAX_NESTING = 30  # the symbolic parser is exponential in it
_MAX_EXPONENT = 20_000
_MAX_EXPONENT_OF_SUM = 100  # of a bracket, which may be expanded
_MAX_COMBINATORIAL = 2000

_GROUP = r"[^{}]*(?:\{[^{}]*\}[^{}]*)*"
_EXPONENT = re.compile(rf"(?P<base>.?)\^\s*(?:\{{(?P<group>{_GROUP})\}}|(?P<one>\S))")
_TOWER = re.compile(r"\^(?:\{-?)?[\w\\]{0,10}\^(?:\{-?)?[\w\\]{0,10}\^")
_FACTORIAL = re.compile(r"(\d+)\s*!")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{([^{}]*(?:\{[^{}]*\})?[^{}]*)\}")


def is_too_large(text: str) -> bool:
    """Whether a cleaned answer is refused without being compared."""
    return (
        len(text) > MAX_CHARS
        or _nesting(text) > _MAX_NESTING
        or _TOWER.search(text) is not None
        or any(_is_large_power(match) for match in _EXPONENT.finditer(text))
        or any(_exceeds(top, _MAX_COMBINATORIAL) for top in _FACTORIAL.findall(text))
        or any(_exceeds(top, _MAX_COMBINATORIAL) for top in _BINOMIAL.findall(text))
    )


def _nesting(text: str) -> int:
    """The depth of nested brackets of any kind."""
    steps = (1 if bracket in "([{" else -1 for bracket in re.findall(r"[(\[{)\]}]", text))
    return max(itertools.accumulate(steps), default=0)


def _is_large_power(match: re.Match[str]) -> bool:
    limit = _MAX_EXPONENT_OF_SUM if match["base"] in ")}]" else _MAX_EXPONENT
    return _exceeds(match["group"] or match["one"] or "", limit)


def _exceeds(text: str, limit: int) -> bool:
    """Whether a closed number exceeds the limit, or is itself too large to be computed."""
    value = exact.rational(text)
    if value is None:
        return re.fullmatch(r"[\d\s^{}()!*]+", text) is not None and "^" in text
    return abs(value) > limit
