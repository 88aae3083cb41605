"""Worked responses for warm-up SFT: from generated problems or from JSON Lines.

A row is `{"id", "problem", "response"}` or `{"id", "messages"}`; of messages, the last one by the
assistant is the response and the last one by the user before it the problem. The response holds
fences and interpreter outputs as text; whether it opens a code fence says which decision it shows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from acim_jax.data import generated, rows
from acim_jax.files import jsonl
from acim_jax.markup import Markup
from acim_jax.records import Demonstration


def load(
    source: str, *, markup: Markup, limit: int | None = None, seed: int = 0
) -> list[Demonstration]:
    """All demonstrations of `source` (a file, or `generated:arithmetic` with a `limit`), at most
    `limit`. Every row is checked before anything is returned.

    FileNotFoundError for a missing file, ValueError naming file, line and field for a bad row.
    """
    if source.startswith(generated.PREFIX):
        name = source.removeprefix(generated.PREFIX)
        if name not in generated.NAMES:
            raise ValueError(f"{source!r}: generated are {', '.join(generated.NAMES)}.")
        if limit is None:
            raise ValueError(f"{source!r} has no end: say how many demonstrations are wanted.")
        return list(generated.demonstrations(limit, seed=seed, markup=markup))
    loaded: list[Demonstration] = []
    lines: dict[str, int] = {}
    for number, row in jsonl.read(Path(source)):
        where = f"{source}:{number}"
        rows.check_text(row, where)
        demonstration = _from_row(row, where, markup)
        if demonstration.id in lines:
            raise ValueError(
                f"{where}: id {demonstration.id!r} was used in line {lines[demonstration.id]}."
            )
        lines[demonstration.id] = number
        loaded.append(demonstration)
    return loaded[:limit]


def _from_row(row: Mapping[str, object], where: str, markup: Markup) -> Demonstration:
    question, response = _conversation(row, where)
    if not response.strip():
        raise ValueError(f"{where}: the response is empty.")
    return Demonstration(
        id=_text(row, "id", where),
        question=question,
        response=response,
        decision="code" if markup.code_open in response else "text",
    )


def _conversation(row: Mapping[str, object], where: str) -> tuple[str, str]:
    if "messages" not in row:
        return _text(row, "problem", where), _text(row, "response", where)
    if "problem" in row or "response" in row:
        raise ValueError(f"{where}: a row has either messages, or problem and response, not both.")
    messages = row["messages"]
    if not isinstance(messages, list):
        raise ValueError(f"{where}: messages must be a list, got {type(messages).__name__}.")
    said: dict[str, str] = {}
    question = ""
    for index, message in enumerate(cast(list[object], messages)):
        inside = f"{where}: messages[{index}]"
        if not isinstance(message, dict):
            raise ValueError(f"{inside} must be an object, got {type(message).__name__}.")
        fields = cast(dict[str, object], message)
        role = _text(fields, "role", inside)
        said[role] = _text(fields, "content", inside)
        if role == "assistant":
            question = said.get("user", "")
    if "assistant" not in said or not question:
        raise ValueError(
            f"{where}: messages must hold one by the user and, after it, one by the assistant."
        )
    return question, said["assistant"]


def _text(row: Mapping[str, object], field: str, where: str) -> str:
    value = row.get(field)
    if field not in row:
        raise ValueError(f"{where}: the field {field!r} is missing; there are {sorted(row)}.")
    if not isinstance(value, str):
        raise ValueError(f"{where}: {field} must be a string, got {type(value).__name__}.")
    return value
