"""Programs in a response: where a fence opens and closes, what it holds, and where a response ends.

All of it depends on the text alone, never on how a tokenizer cut it. A program reaches from an
opening fence to the first closing one, and the first token that completes the closing fence closes
it; what that token holds beyond the fence is the model's own text. Any newline of a fence may be
`\\r\\n`.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, cast

from acim_jax.markup.form import Markup

_INNER_FENCE = re.compile(r"\s*```(?:python|py)?[ \t]*\r?\n(.*?)(?:\r?\n)?```\s*", re.DOTALL)


def pattern(fence: str) -> str:
    """A regular expression for a fence, whichever newlines it is written with."""
    return "\r?\n".join(re.escape(line) for line in fence.split("\n"))


def closed_program(text: str, before: str, markup: Markup) -> str | None:
    """The program of the fence that the last token of `text` (a response so far) closes, else None.

    before: `text` without its last token. None as well for a fence that holds no program, such as
    a malformed call for `json`.
    """
    closed = _blocks(text, markup)[len(_blocks(before, markup)) :]
    return _program(text[slice(*closed[0])], markup) if closed else None


def completes_fence(text: str, before: str, markup: Markup) -> bool:
    """Whether a closing fence ends in `text` beyond `before`, whatever was opened.

    Both may be cut at the left, if at the same place and `before` is longer than the fence.
    """
    return _ends_beyond(pattern(markup.code_close), text, before)


def opens_fence(text: str, before: str, markup: Markup) -> bool:
    """Whether an opening fence ends in `text` beyond `before`; its line break need not be there.

    Both may be cut at the left, as for `completes_fence`.
    """
    return _ends_beyond(pattern(markup.code_open.rstrip()), text, before)


def ends_response(text: str, before: str, stops: Iterable[str]) -> bool:
    """Whether one of `stops` ends in `text` beyond `before`.

    text: what the model wrote, up to its last token; before: the same without that token. Both may
    be cut at the left, if at the same place and `before` is as long as the longest stop text.
    """
    return any(_ends_beyond(re.escape(stop), text, before) for stop in stops)


def _ends_beyond(pattern: str, text: str, before: str) -> bool:
    """Whether `text` has more matches, overlapping ones included. Their places would not tell: half
    a character at the end of `before` has no length to compare with."""
    starts = re.compile(f"(?={pattern})")
    return len(starts.findall(text)) > len(starts.findall(before))


def first_opened(text: str, markup: Markup) -> tuple[int, int] | None:
    """Begin and end of the first opening fence of a response."""
    opened = re.search(pattern(markup.code_open), text)
    return None if opened is None else opened.span()


def count_opened(text: str, markup: Markup) -> int:
    """How many code fences a response opens, closed or not."""
    return len(re.findall(pattern(markup.code_open), text))


def programs(text: str, markup: Markup) -> list[str]:
    """All programs of a response whose fences are closed, in order."""
    found = (_program(text[slice(*block)], markup) for block in _blocks(text, markup))
    return [program for program in found if program is not None]


def _blocks(text: str, markup: Markup) -> list[tuple[int, int]]:
    """Begin and end of what stands between each opening fence and its closing one."""
    opening = re.compile(pattern(markup.code_open))
    closing = re.compile(pattern(markup.code_close))
    # A program of no lines shares its newline with both fences.
    shared = int(markup.code_open.endswith("\n") and markup.code_close.startswith("\n"))
    blocks: list[tuple[int, int]] = []
    position = 0
    while opened := opening.search(text, position):
        closed = closing.search(text, opened.end() - shared)
        if closed is None:
            break
        blocks.append((opened.end(), max(closed.start(), opened.end())))
        position = closed.end()
    return blocks


def _program(content: str, markup: Markup) -> str | None:
    match markup.body:
        case "plain":
            return content
        case "markdown":
            inner = _INNER_FENCE.fullmatch(content)
            return inner.group(1) if inner else content
        case "json":
            return _called(content, markup)


def _called(content: str, markup: Markup) -> str | None:
    """The code of `{"name": "python", "arguments": {"code": …}}`, a program that calls the tool
    which a call of that form names, and nothing else."""
    try:
        call: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    match call:
        case {"name": "python", "arguments": {"code": str(code)}}:
            return code
        case {"name": str(name), "arguments": dict()} if name in _names(markup):
            return f"{name}(**{cast(Any, call)['arguments']!r})"
        case _:
            return None


def _names(markup: Markup) -> list[str]:
    return [json.loads(function)["function"]["name"] for function in markup.functions]
