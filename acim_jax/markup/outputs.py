"""What the interpreter printed: how the model is shown it, and where it stands in a response."""

import re

from acim_jax.markup import fences
from acim_jax.markup.form import Markup
from acim_jax.records import Author, ExecutionResult, Status

_LINE = re.compile(r'^\s*File "<program>", line (\d+)', re.M)
_MARK = re.compile(r"<[^<>\s]+>|[^<>\s]{2,}")
_REMARKS = {
    Status.TIMEOUT: "[timed out]",
    Status.MEMORY: "[out of memory]",
    Status.BLOCKED: "[blocked]",
    Status.KILLED: "[killed]",
    Status.INFRA: "[killed]",
}


def render_output(result: ExecutionResult, markup: Markup) -> str:
    """What the model is shown of a result, between the output fences: what the program printed,
    then why it did not end well.

    Marks of the fences inside the output are broken up, so a program cannot close its fence, open
    another one, or end the turn.
    """
    printed = result.stdout.rstrip("\n")
    if result.status is Status.OK:
        shown = printed or "[no output]"
    else:
        remark = _REMARKS.get(result.status) or _error(result.stderr, markup)
        shown = f"{printed}\n{remark}" if printed else remark
    return fenced(cut_middle(shown, markup.max_output_chars), markup)


def fenced(shown: str, markup: Markup) -> str:
    """A text between the output fences, with the marks of all fences in it broken up."""
    return markup.output_open + _broken_up(shown, markup) + markup.output_close


def _error(stderr: str, markup: Markup) -> str:
    """The last line of a traceback and, if wanted, the program's line that raised the error."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if not lines:
        return "[error]"
    numbers = _LINE.findall(stderr) if markup.error_lines else []
    return f"{lines[-1]} (line {numbers[-1]})" if numbers else lines[-1]


def _broken_up(shown: str, markup: Markup) -> str:
    """A blank goes into every tag and every other mark of the fences, words excepted."""
    shown = shown.replace("```", "'''")
    ours = (markup.code_open, markup.code_close, markup.output_open, markup.output_close)
    marks = {mark for fence in ours for mark in _MARK.findall(fence) if not mark.isalnum()}
    for mark in sorted(marks):
        shown = shown.replace(mark, f"{mark[0]} {mark[1:]}")
    return shown


def cut_middle(text: str, limit: int) -> str:
    """About `limit` characters at most: head and tail stay, and the length of the cut is shown."""
    if len(text) <= limit:
        return text
    half = max(limit // 2, 1)
    return f"{text[:half]}[{len(text) - 2 * half} characters cut]{text[-half:]}"


def strip_outputs(text: str, markup: Markup) -> str:
    """A response without interpreter outputs, so that only the model's own text is graded."""
    return _output(markup).sub("\n", text)


def split_by_author(response: str, markup: Markup) -> list[tuple[Author, str]]:
    """The pieces of a response: what the model writes (its closing fence included), and interpreter
    outputs with both of their fences.

    The pieces joined are the response. An output fence that is never closed was not written by the
    interpreter and is MODEL.
    """
    position = 0
    pieces: list[tuple[Author, str]] = []
    for output in _output(markup).finditer(response):
        pieces.append((Author.MODEL, response[position : output.start()]))
        pieces.append((Author.OUTPUT, output.group()))
        position = output.end()
    pieces.append((Author.MODEL, response[position:]))
    return [(author, text) for author, text in pieces if text]


def _output(markup: Markup) -> re.Pattern[str]:
    """Matches an output with both of its fences, whichever newlines they have."""
    begin, end = fences.pattern(markup.output_open), fences.pattern(markup.output_close)
    return re.compile(f"{begin}.*?{end}", re.DOTALL)
