"""A demonstration written as messages: one question, and what came back until its answer.

The assistant's turns are one response. Between them stands what the interpreter printed, by a role
of its own, or by the user in the fence of an output; it gets the markup's fences.
"""

import re
from typing import cast

from acim_jax.data.problem_records import Fields, Record
from acim_jax.markup import Markup, fences, outputs

_BEFORE = ("system", "developer")
_INTERPRETER = ("tool", "function", "ipython", "observation", "environment", "interpreter")
#: Around an output in a turn of the user, whatever the markup's own fences are.
_FENCES = (
    ("```output", "```"),
    ("<interpreter>", "</interpreter>"),
    ("<tool_response>", "</tool_response>"),
)

_Turn = tuple[str, str]


def conversation(fields: Fields, markup: Markup) -> tuple[str, str]:
    """Question and response of a record's `messages`. ValueError, naming the message, for one that
    has no place in them."""
    turns = [_turn(fields, at, message) for at, message in enumerate(fields.items("messages"))]
    first = next((at for at, (role, _) in enumerate(turns) if role not in _BEFORE), len(turns))
    roles = [role for role, _ in turns[first:]]
    if roles[:2] != ["user", "assistant"] or roles[-1] != "assistant":
        raise ValueError(
            f"{fields.where}: messages must hold one by the user and, after it, one by the "
            f"assistant, who has the last one; they are by {', '.join(roles) or 'nobody'}."
        )
    response = ""
    for at, (role, text) in enumerate(turns[first + 1 :], start=first + 1):
        if (role == "assistant") != (at % 2 != first % 2):
            raise ValueError(
                f"{fields.where}: messages[{at}] is by {role}; after the question, the assistant "
                "and the interpreter take turns."
            )
        if role == "assistant":
            response += text
        else:
            response = _ended(response, markup) + _output(fields, at, (role, text), markup)
    return turns[first][1], response


def _turn(fields: Fields, at: int, message: object) -> _Turn:
    inside = f"{fields.where}: messages[{at}]"
    if not isinstance(message, dict):
        raise ValueError(f"{inside} must be an object, got {type(message).__name__}.")
    parts = Fields(cast(Record, message), inside)
    role, text = parts.text("role"), parts.text("content")
    if role not in (*_BEFORE, "user", "assistant", *_INTERPRETER):
        raise ValueError(f"{inside}: role must be system, user, assistant or tool, got {role!r}.")
    if parts.get("tool_calls"):
        raise ValueError(
            f"{inside} has tool_calls, which are not read; write the program into its content, "
            "between the markup's fences."
        )
    return role, text.replace("\r\n", "\n")


def _ended(response: str, markup: Markup) -> str:
    """A response up to its program, without what a turn has behind the closing fence."""
    stripped, close = response.rstrip(), markup.code_close
    return stripped + close[len(close.rstrip()) :] if stripped.endswith(close.strip()) else response


def _output(fields: Fields, at: int, turn: _Turn, markup: Markup) -> str:
    role, text = turn
    own = (markup.output_open.strip(), markup.output_close.strip())
    for begin, end in (own, *_FENCES):
        form = rf"\s*{fences.pattern(begin)}\n?(.*?)\n?{fences.pattern(end)}\s*"
        if inside := re.fullmatch(form, text, re.DOTALL):
            return outputs.fenced(inside[1], markup)
    if role in _INTERPRETER:
        return outputs.fenced(text.strip("\n"), markup)
    raise ValueError(
        f"{fields.where}: messages[{at}] by {role} is a second question, or an output without its "
        f"fence ({own[0]!r}); a demonstration has one question, so make it a record of its own."
    )
