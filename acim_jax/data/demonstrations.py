"""Worked responses for warm-up SFT: from generated problems or from JSON Lines.

A record is `{"id", "problem", "response"}` or `{"id", "messages"}` (`messages.py`). The response
holds fences and interpreter outputs as text; it shows the decision *code* if it opens a code fence.
"""

import collections
import dataclasses
import random
from collections.abc import Iterable
from pathlib import Path

from acim_jax.data import generated, messages, own_data
from acim_jax.data.problem_records import Fields, Record, check_text
from acim_jax.files import jsonl
from acim_jax.markup import Markup, fences, outputs
from acim_jax.records import DECISIONS, Author, Demonstration


def load(
    source: str, *, markup: Markup, limit: int | None = None, seed: int = 0
) -> list[Demonstration]:
    """At most `limit` demonstrations of `source`: a file, or the split `train` of an own function
    (`own_data`), in an order drawn by seed, or `generated:arithmetic` with a `limit`. All records
    are checked before any is returned.

    FileNotFoundError for a missing file, ValueError naming file, line and field for a bad record.
    """
    if source.startswith(generated.PREFIX):
        count = generated.checked_count(source, limit, "demonstrations")
        return list(generated.demonstrations(count, seed=seed, markup=markup))
    loaded: list[Demonstration] = []
    lines: dict[str, int] = {}
    is_own = own_data.is_one(source)
    read = enumerate(own_data.records(source, "train"), 1) if is_own else jsonl.read(Path(source))
    for number, record in read:
        where = f"{source}:{number}"
        check_text(record, where)
        demonstration = _from_record(record, where, markup)
        first = lines.setdefault(demonstration.id, number)
        if first != number:
            raise ValueError(f"{where}: id {demonstration.id!r} was used in line {first}.")
        loaded.append(demonstration)
    # A string seed is hashed by SHA-512 inside `random`, the same on every platform.
    random.Random(f"acim-demonstrations/{seed}").shuffle(loaded)
    return loaded[:limit]


def decisions(shown: Iterable[Demonstration]) -> str:
    """How many show which decision, for people."""
    counts = collections.Counter(one.decision for one in shown)
    return ", ".join(f"{counts[decision]} {decision}" for decision in DECISIONS)


def _from_record(record: Record, where: str, markup: Markup) -> Demonstration:
    fields = Fields(record, where)
    own = fields.text("id")
    question, response = _conversation(
        dataclasses.replace(fields, where=f"{where}: id {own!r}"), markup
    )
    if not question.strip():
        raise ValueError(f"{where}: id {own!r}: the problem is empty.")
    if not response.strip():
        raise ValueError(f"{where}: id {own!r}: the response is empty.")
    _check_outputs(response, f"{where}: id {own!r}", markup)
    written = outputs.strip_outputs(response, markup)
    return Demonstration(
        id=own,
        question=question,
        response=response,
        decision="code" if fences.count_opened(written, markup) else "text",
    )


def _conversation(fields: Fields, markup: Markup) -> tuple[str, str]:
    """Question and response. Line ends of a response are `\\n`, as in the fences that the sampler
    writes."""
    if "messages" in fields.record:
        if "problem" in fields.record or "response" in fields.record:
            raise ValueError(
                f"{fields.where}: a record has messages, or problem and response, not both."
            )
        return messages.conversation(fields, markup)
    return fields.text("problem"), fields.text("response").replace("\r\n", "\n")


def _check_outputs(response: str, where: str, markup: Markup) -> None:
    """ValueError for an interpreter's output that no program of the response can have printed."""
    written = ""
    for author, text in outputs.split_by_author(response, markup):
        if author is Author.MODEL:
            written += text
            continue
        if not fences.programs(written, markup):
            raise ValueError(
                f"{where}: an interpreter's output {_shown(text)} stands behind no program of its "
                f"own; a program begins with {markup.code_open!r} and ends with "
                f"{markup.code_close!r}."
            )
        written = ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
