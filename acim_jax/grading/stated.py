r"""Answers that a response states without a box: `The answer is **73**.`, `#### 18`.

Works line by line, on the last lines that may state one. Every repetition is bounded: a hostile
response must not cost quadratic time.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_MAX_BARE_CHARS = 64
_MAX_LINES = 64
_MAX_DRESSED_CHARS = 2000

PLAIN_NUMBER = re.compile(r"[+-]?[\d,]{1,5000}(?:\.\d{1,5000})?")
_HINT = re.compile(r"####|\banswer|_answer", re.IGNORECASE)
_STATED = re.compile(
    r"\banswer\b[^.\n:=]{0,40}?(?:\bis\b|:|=)[ \t]{0,9}:?[ \t]{0,9}(.*)", re.IGNORECASE
)
_HEADING = re.compile(r"####[#\s]{0,9}(.*)")
#: A line after which the answer stands alone.
_ANNOUNCED = re.compile(
    r"(?:(?:so|thus|hence|therefore|the|my|our),? ){0,3}(?:final |correct )?answer(?: is)?\s?:?",
    re.IGNORECASE,
)
_STATEMENT_END = re.compile(r"\.(?:\s|$)|,\s(?=[A-Za-z])|\s(?:because|since|as)\s")
#: `**…**` and the like around words, as Markdown has them: not the power of 2**10.
_EMPHASIS = re.compile(
    r"(?<![\w)\]}*`\\])(\*{1,3}|_{1,3}|`{1,2})(?=[^\s*_`])(.{1,200}?)(?<=[^\s*_`])\1(?![\w(*`])"
)
_LABEL = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf)\s?\{([^{}]{0,80}\banswer\b[^{}]{0,80})\}", re.IGNORECASE
)
_FILLER = re.compile(
    r"(?:(?:therefore|thus|hence|so|then|just|simply|exactly|indeed|clearly|obviously|equal to"
    r"|equals|given by|found to be)\b(?!-)[,:]?\s*){1,4}(?=\S)",
    re.IGNORECASE,
)
_CLOSING = (("\\[", "\\]"), ("\\(", "\\)"), ("{", "}"))
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_NUMBERED = re.compile(r"\(?\d{1,3}(?:[.):]\s.*[A-Za-z]|(?:st|nd|rd|th)\b)")
_VALUE = re.compile(r"(?:.{0,40}=\s?)?[-+$(\\]{0,3}\d")


class _Statement(NamedTuple):
    """is_heading: `#### …` without a value, which counts if nothing else was stated."""

    answer: str
    is_heading: bool


def last_statement(text: str) -> str | None:
    """What follows the last `answer is`, or the last `####` that a value follows; else what
    follows the last `####`, or None."""
    heading = None
    for line, following in _lines_from_the_end(text):
        found = _statement(line, following)
        if found and found.answer and not found.is_heading:
            return found.answer
        heading = heading or (found and found.answer)
    return heading or None


def is_bare(text: str) -> bool:
    """Whether a line is so short that it may be an answer by itself."""
    is_short = 0 < len(text) <= _MAX_BARE_CHARS and "\n" not in text
    return (is_short and len(_WORD.findall(text)) <= 3) or bool(PLAIN_NUMBER.fullmatch(text))


def _lines_from_the_end(text: str) -> Iterator[tuple[str, str]]:
    """The last lines that may state an answer, with the begin of what follows each."""
    seen = len(text) + 1
    for match in reversed(list(_HINT.finditer(text))[-_MAX_LINES:]):
        begin = text.rfind("\n", 0, match.start()) + 1
        if begin < seen:
            seen = begin
            end = text.find("\n", match.start())
            end = len(text) if end < 0 else end
            yield text[begin:end], text[end : end + 400]


def _statement(line: str, following: str) -> _Statement | None:
    if len(line) > _MAX_DRESSED_CHARS and (hint := _HINT.search(line)):
        line = line[max(0, hint.start() - 100) :]
    head = _LABEL.sub(r"\1", _undressed(line[:_MAX_DRESSED_CHARS]))
    plain = head + line[_MAX_DRESSED_CHARS:]
    is_set_off = plain != line or line.lstrip().startswith("#")
    title = head.strip().strip("#>*_ ")
    if _ANNOUNCED.fullmatch(title) and (is_set_off or title.endswith((":", "is"))):
        return _Statement(_alone(following), False)
    if stated := _STATED.search(plain):
        return _Statement(_trimmed(stated[1]), False)
    if heading := _HEADING.search(plain):
        answer = _trimmed(heading[1])
        return _Statement(answer, not _is_value(heading[1].strip(), answer))
    return None


def _undressed(text: str) -> str:
    """Without the marks of emphasis, nested ones included."""
    for _ in range(3):
        text = _EMPHASIS.sub(r"\2", text)
    return text


def _alone(following: str) -> str:
    """The first line that is not blank, if it may be an answer by itself."""
    lines = (line.strip() for line in following.split("\n"))
    first = next((line for line in lines if line.strip("\\[]$ ")), "")
    answer = _trimmed(_undressed(first))
    return answer if is_bare(answer) else ""


def _trimmed(text: str) -> str:
    """A stated answer without the rest of its sentence, filler words and unopened brackets."""
    text = _without_closing(text.strip().strip("*_` "))
    text = _STATEMENT_END.split(text, maxsplit=1)[0].strip()
    filler = _FILLER.match(text)
    return _without_closing(text[filler.end() :] if filler else text).strip("*_` ")


def _without_closing(text: str) -> str:
    for opening, closing in _CLOSING:
        for _ in range(min(3, text.count(closing) - text.count(opening))):
            text = text.strip().removeprefix(closing).removesuffix(closing).strip()
    return text


def _is_value(text: str, answer: str) -> bool:
    """Whether `#### …` states a value, as GSM8K does; a title such as `Check` or `2. Check` is
    none."""
    if _NUMBERED.match(text):
        return False
    words = _WORD.findall(answer)
    return not words or (len(words) <= 4 and _VALUE.match(answer) is not None)
