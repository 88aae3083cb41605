"""How data sets write a final answer, and the answer alone. ValueError begins with `where`."""

import re
from typing import cast

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def after_hashes(value: object, where: str) -> tuple[str, str]:
    """GSM8K: the solution without its calculator marks, and the number after `####`, no commas."""
    text = _string(value, where)
    solution, mark, answer = text.rpartition("####")
    answer = answer.strip().replace(",", "")
    if not mark or not answer:
        raise ValueError(f"{where}: needed an answer after '####', got {_shown(text)}.")
    return _CALCULATOR.sub("", solution).strip(), answer


def last_boxed(value: object, where: str) -> str:
    r"""MATH: the content of the last `\boxed{…}` or `\fbox{…}`; `\boxed 5` is `5`."""
    text = _string(value, where)
    boxes = list(_BOX.finditer(text))
    content = _content(text, boxes[-1].end()) if boxes else None
    if not content:
        raise ValueError(f"{where}: needed a \\boxed{{answer}}, got {_shown(text)}.")
    return content


def unboxed(text: str) -> str:
    r"""`last_boxed`; a text without a box, or whose last box is empty or open, is as it is."""
    boxes = list(_BOX.finditer(text))
    return (_content(text, boxes[-1].end()) if boxes else None) or text


def number(value: object, where: str) -> str:
    """A number without leading zeros and without a fraction of zero; any other text as it is."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{where}: needed a number or a text, got {type(value).__name__}.")
    text = str(value).strip()
    if not text:
        raise ValueError(f"{where} is empty.")
    whole = re.fullmatch(r"(-?)0*(\d+)(?:\.0*)?", text)
    return "".join(whole.groups()) if whole else text


def listed(value: object, where: str) -> str:
    """OlympiadBench: one or more answers, each perhaps between `$`, joined by commas."""
    values = cast(list[object], value) if isinstance(value, list) else [value]
    texts = [_string(one, where).strip().strip("$").strip() for one in values]
    if not texts or not all(texts):
        raise ValueError(f"{where}: needed one or more answers, got {value!r}.")
    return ", ".join(texts)


def level(value: object) -> object:
    """`Level 5` is `5`."""
    return value.removeprefix("Level ") if isinstance(value, str) else value


def _content(text: str, start: int) -> str | None:
    """The brace group at `start`, or the one word there; None where a brace does not close."""
    if not text.startswith("{", start):
        word = re.match(r"[^\s$.,]+", text[start:])
        return word.group() if word else None
    depth = 0
    for match in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text[start + 1 : match.start()].strip()
    return None


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be a string, got {type(value).__name__}.")
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"…{text[-60:]}")
