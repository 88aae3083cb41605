"""Programs in a response: where a fence opens and closes, what it holds, and where a response ends.

All of it is a function of the text alone, never of how a tokenizer cut it: a program reaches from
an opening fence to the first closing one, and the fence is closed by the first token that completes
it. What the same token holds beyond the fence is the model's own text. A `\\r\\n` stands for any
newline of a fence.
"""

import functools
import json
import re
from collections.abc import Iterable
from typing import NamedTuple, cast

from acim_jax.markup.form import Markup

_INNER_FENCE = re.compile(r"\s*```(?:python|py)?[ \t]*\r?\n(.*?)(?:\r?\n)?```\s*", re.DOTALL)


class _Fences(NamedTuple):
    opening: re.Pattern[str]
    closing: re.Pattern[str]
    shared: int  # newlines that end the opening fence and may begin the closing one


@functools.cache
def _fences(code_open: str, code_close: str) -> _Fences:
    shared = 1 if code_open.endswith("\n") and code_close.startswith("\n") else 0
    return _Fences(_pattern(code_open), _pattern(code_close), shared)


def _pattern(fence: str) -> re.Pattern[str]:
    return re.compile("\r?\n".join(re.escape(line) for line in fence.split("\n")))


def programs(text: str, markup: Markup) -> list[str | None]:
    """What every fence holds that is opened and closed in `text`, in order.

    None for a fence whose content is no program (a malformed call, for `json`).
    """
    return [_program(text[begin:end], markup) for begin, end, _ in _blocks(text, markup)]


def closed_program(text: str, markup: Markup, *, before: str | None = None) -> str | None:
    """The program of the fence that the end of `text` (a response so far) closes, else None.

    before: `text` without its last token, which then must have completed the fence. Without it,
    the fence must end the text, blanks aside.
    """
    blocks = _blocks(text, markup)
    if before is None:
        if not blocks or text[blocks[-1][2] :].strip(" \r\n"):
            return None
        closed = blocks[-1:]
    else:
        closed = blocks[len(_blocks(before, markup)) :]
    return _program(text[closed[0][0] : closed[0][1]], markup) if closed else None


def completes_fence(text: str, before: str, markup: Markup) -> bool:
    """Whether a closing fence ends in `text` beyond `before`, whatever was opened.

    Both may be cut at the left, if at the same place and `before` is longer than the fence.
    """
    closing = _fences(markup.code_open, markup.code_close).closing
    return _ends_beyond(closing, text, before)


def ends_response(text: str, stops: Iterable[str], *, before: str) -> bool:
    """Whether one of `stops` ends in `text` beyond `before`.

    text: what the model wrote, up to its last token; before: the same without that token. Both may
    be cut at the left, if at the same place and `before` is as long as the longest stop text.
    """
    return any(_ends_beyond(re.compile(re.escape(stop)), text, before) for stop in stops)


def _ends_beyond(pattern: re.Pattern[str], text: str, before: str) -> bool:
    """Counting shows it: half a character at the end of `before` has no length to compare with."""
    return len(_starts(pattern, text)) > len(_starts(pattern, before))


def _starts(pattern: re.Pattern[str], text: str) -> list[int]:
    """Where the pattern begins to match, overlapping matches included."""
    starts: list[int] = []
    found = pattern.search(text)
    while found is not None:
        starts.append(found.start())
        found = pattern.search(text, found.start() + 1)
    return starts


def count_opened(text: str, markup: Markup) -> int:
    """How many code fences a response opens, closed or not."""
    return len(_fences(markup.code_open, markup.code_close).opening.findall(text))


def _blocks(text: str, markup: Markup) -> list[tuple[int, int, int]]:
    """Begin and end of each fence's content, and the end of its closing fence."""
    fences = _fences(markup.code_open, markup.code_close)
    blocks: list[tuple[int, int, int]] = []
    position = 0
    while opened := fences.opening.search(text, position):
        closed = fences.closing.search(text, opened.end() - fences.shared)
        if closed is None:
            break
        blocks.append((opened.end(), max(closed.start(), opened.end()), closed.end()))
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
            return _called(content)


def _called(content: str) -> str | None:
    """The code of `{"name": "python", "arguments": {"code": …}}`, and of nothing else."""
    try:
        call: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or cast(dict[str, object], call).get("name") != "python":
        return None
    arguments = cast(dict[str, object], call).get("arguments")
    if not isinstance(arguments, dict):
        return None
    code = cast(dict[str, object], arguments).get("code")
    return code if isinstance(code, str) else None
