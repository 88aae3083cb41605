"""Worked responses for warm-up SFT: from generated problems or from JSON Lines.

A record is `{"id", "problem", "response"}` or `{"id", "messages"}`. Of messages, the last one by
the assistant is the response, and the last one by the user before it the problem. The response
holds fences and interpreter outputs as text; it shows the decision *code* if it opens a code fence.
"""

from pathlib import Path
from typing import cast

from acim_jax.data import generated
from acim_jax.data.problem_records import Fields, Record, check_text
from acim_jax.files import jsonl
from acim_jax.markup import Markup
from acim_jax.records import Demonstration


def load(
    source: str, *, markup: Markup, limit: int | None = None, seed: int = 0
) -> list[Demonstration]:
    """The first `limit` demonstrations of `source`: a file, or `generated:arithmetic` with a
    `limit`. All records are checked before any of them is returned.

    FileNotFoundError for a missing file, ValueError naming file, line and field for a bad record.
    """
    if source.startswith(generated.PREFIX):
        count = generated.checked_count(source, limit, "demonstrations")
        return list(generated.demonstrations(count, seed=seed, markup=markup))
    loaded: list[Demonstration] = []
    lines: dict[str, int] = {}
    for number, record in jsonl.read(Path(source)):
        where = f"{source}:{number}"
        check_text(record, where)
        demonstration = _from_record(record, where, markup)
        first = lines.setdefault(demonstration.id, number)
        if first != number:
            raise ValueError(f"{where}: id {demonstration.id!r} was used in line {first}.")
        loaded.append(demonstration)
    return loaded[:limit]


def _from_record(record: Record, where: str, markup: Markup) -> Demonstration:
    fields = Fields(record, where)
    question, response = _conversation(fields)
    if not response.strip():
        raise ValueError(f"{where}: the response is empty.")
    return Demonstration(
        id=fields.text("id"),
        question=question,
        response=response,
        decision="code" if markup.code_open in response else "text",
    )


def _conversation(fields: Fields) -> tuple[str, str]:
    """Question and response."""
    where, record = fields.where, fields.record
    if "messages" not in record:
        return fields.text("problem"), fields.text("response")
    if "problem" in record or "response" in record:
        raise ValueError(f"{where}: a record has messages, or problem and response, not both.")
    said: dict[str, str] = {}
    question = ""
    for index, message in enumerate(fields.items("messages")):
        inside = f"{where}: messages[{index}]"
        if not isinstance(message, dict):
            raise ValueError(f"{inside} must be an object, got {type(message).__name__}.")
        parts = Fields(cast(Record, message), inside)
        role = parts.text("role")
        said[role] = parts.text("content")
        if role == "assistant":
            question = said.get("user", "")
    if "assistant" not in said or not question:
        raise ValueError(
            f"{where}: messages must hold one by the user and, after it, one by the assistant."
        )
    return question, said["assistant"]
