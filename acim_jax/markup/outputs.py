"""What the interpreter said, as the model is shown it, and how it is taken out of a response."""

import re

from acim_jax.markup.form import Markup
from acim_jax.records import ExecutionResult, Status

FENCE = "```"
_LINE = re.compile(r'^\s*File "<program>", line (\d+)', re.M)
_MARK = re.compile(r"<[^<>\s]+>|[^<>\s]{2,}")


def render_output(result: ExecutionResult, markup: Markup) -> str:
    """What the model is shown of a result: output, else the last line of the error, in its fence.

    The fences' own marks inside the output are broken up, so a program cannot close its fence, open
    another one, or end the turn.
    """
    match result.status:
        case Status.OK:
            shown = result.stdout.rstrip("\n") or "[no output]"
        case Status.TIMEOUT:
            shown = _with_output(result.stdout, "[timed out]")
        case Status.MEMORY:
            shown = _with_output(result.stdout, "[out of memory]")
        case Status.ERROR:
            shown = _with_output(result.stdout, _error(result.stderr, markup))
        case Status.BLOCKED:
            shown = _with_output(result.stdout, "[blocked]")
        case _:
            shown = _with_output(result.stdout, "[killed]")
    shown = _broken_up(cut_middle(shown, markup.max_output_chars), markup)
    return markup.output_open + shown + markup.output_close


def _error(stderr: str, markup: Markup) -> str:
    """The last line of a traceback and, if wanted, the program's line that it was raised in."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if not lines:
        return "[error]"
    numbers = _LINE.findall(stderr) if markup.error_lines else []
    return f"{lines[-1]} (line {numbers[-1]})" if numbers else lines[-1]


def _broken_up(shown: str, markup: Markup) -> str:
    """Every tag and every other mark of the fences, words excepted, gets a blank inside."""
    shown = shown.replace(FENCE, "'''")
    fences = (markup.code_open, markup.code_close, markup.output_open, markup.output_close)
    marks = {mark for fence in fences for mark in _MARK.findall(fence) if not mark.isalnum()}
    for mark in sorted(marks):
        shown = shown.replace(mark, f"{mark[0]} {mark[1:]}")
    return shown


def _with_output(stdout: str, remark: str) -> str:
    out = stdout.rstrip("\n")
    return f"{out}\n{remark}" if out else remark


def cut_middle(text: str, limit: int) -> str:
    """At most about `limit` characters: head and tail are kept, the count of what was cut shown."""
    if len(text) <= limit:
        return text
    half = max(limit // 2, 1)
    return f"{text[:half]}[{len(text) - 2 * half} characters cut]{text[-half:]}"


def strip_outputs(text: str, markup: Markup) -> str:
    """A response without what the interpreter wrote, so that only MODEL text can be graded."""
    pattern = re.escape(markup.output_open) + r".*?" + re.escape(markup.output_close)
    return re.sub(pattern, "\n", text, flags=re.S)
