r"""The answer that a response states: the last balanced `\boxed{…}`, or a bare one."""

import re

from acim_jax.grading import stated
from acim_jax.grading.config import Unboxed

_MAX_BOXES = 64

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")


def extract_answer(text: str, unboxed: Unboxed = "stated") -> str | None:
    """The answer that a response states, or None. A box that never closes is no answer."""
    boxes = list(_BOX.finditer(text))
    for match in reversed(boxes[-_MAX_BOXES:]):
        content = _braced(text, match.end())
        if content is not None:
            return content.strip()
    if boxes or unboxed == "never":
        return None
    if answer := stated.last_statement(text):
        return answer
    return text.strip() if stated.is_bare(text.strip()) else None


def _braced(text: str, start: int) -> str | None:
    r"""The content of the brace group at `start`, or the one token of `\boxed 5`; else None."""
    if not text.startswith("{", start):
        token = re.match(r"[-+]?[\d.,/]*\d", text[start : start + 100])
        return token.group() if token else None
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text[start + 1 : match.start()]
    return None
