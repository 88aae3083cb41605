r"""Reference answers that no response can be right about, or hardly any.

A reference is graded as if a response had stated it, in a box. It fails where its braces do not
close, where it holds a box of its own, and where nothing is left of it without its markup. Prose
passes, but only the same words equal it: most of it is a worked solution in the wrong field.
"""

import logging
import re
from collections.abc import Mapping, Sequence

from acim_jax.grading import answers, extraction, guards, spelling, stated
from acim_jax.records import Problem

log = logging.getLogger(__name__)

#: Words of a reference that is still an answer, such as a list of names.
_MAX_WORDS = 20
_SHOWN = 5
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_SENTENCE_END = re.compile(r"(?:[A-Za-z]{4,}|[\d)}$])[.!?]\s+[A-Z][a-z]")


def equals_itself(gold: str) -> bool:
    """Whether a response that states the reference in a box is right."""
    extracted = extraction.extract_answer(f"\\boxed{{{gold}}}")
    verdict = answers.decide(extracted, gold)
    return verdict is not None and verdict[1] and bool(spelling.clean(gold))


def is_prose(gold: str) -> bool:
    """Whether a reference is sentences, GSM8K's worked solution, or too long to be compared but as
    text."""
    if stated.PLAIN_NUMBER.fullmatch(gold.strip()):
        return False
    is_long = len(gold) > guards.MAX_CHARS or len(_WORD.findall(gold)) > _MAX_WORDS
    return is_long or "####" in gold or _SENTENCE_END.search(gold) is not None


def usable(data: Mapping[str, Sequence[Problem]]) -> dict[str, list[Problem]]:
    """The problems, by the same names, without those whose reference nothing equals.

    One warning says what was left out, and which references are prose. ValueError where nothing of
    a name would be left.
    """
    kept: dict[str, list[Problem]] = {}
    left_out: list[str] = []
    prose: list[str] = []
    for name, problems in data.items():
        judged = [(one, one.kind == "code" or equals_itself(one.answer)) for one in problems]
        kept[name] = [one for one, is_usable in judged if is_usable]
        left_out += [_shown(name, one) for one, is_usable in judged if not is_usable]
        prose += [_shown(name, o) for o in kept[name] if o.kind == "math" and is_prose(o.answer)]
        if problems and not kept[name]:
            raise ValueError(
                f"{name}: no reference answer equals itself, so no response could be right: "
                f"{_listed(left_out[-len(problems) :])}. Give the final answer alone, or map "
                "`answer` to the field that holds it."
            )
    total = sum(map(len, data.values()))
    said = [
        f"{len(some)} of {total} problems {what}: {_listed(some)}"
        for some, what in (
            (left_out, "are left out, as nothing equals their reference answer"),
            (prose, "have prose as their reference answer, which only the same words equal"),
        )
        if some
    ]
    if said:
        log.warning("%s", "; ".join(said))
    return kept


def _shown(name: str, problem: Problem) -> str:
    gold = problem.answer
    return f"{name}, {problem.id!r} ({gold if len(gold) <= 40 else f'{gold[:40]}…'!r})"


def _listed(places: Sequence[str]) -> str:
    more = f", and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
