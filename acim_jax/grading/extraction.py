r"""The answer that a response states: the last balanced `\boxed{…}`, or a bare one."""

import re

from acim_jax.grading.config import Unboxed

_MAX_BARE_CHARS = 64
_MAX_BOXES = 64

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
# Every repetition of blanks is bounded: a hostile response must not cost quadratic time.
_MARKED = re.compile(
    r"####[ \t]{0,9}(.+)|\banswer\b[^.\n:=]{0,40}?(?:\bis\b|:|=)[ \t]{0,9}:?[ \t]{0,9}(.+)",
    re.IGNORECASE,
)
_STATEMENT_END = re.compile(r"\.(?:\s|$)|,\s(?=[A-Za-z])|\s(?:because|since|as)\s")
PLAIN_NUMBER = re.compile(r"[+-]?[\d,]{1,5000}(?:\.\d{1,5000})?")


def extract_answer(text: str, unboxed: Unboxed = "stated") -> str | None:
    """The answer that a response states, or None. A box that never closes is no answer."""
    boxes = list(_BOX.finditer(text))
    for match in reversed(boxes[-_MAX_BOXES:]):
        content = _braced(text, match.end())
        if content is not None:
            return content.strip()
    if boxes or unboxed == "never":
        return None
    if marked := list(_MARKED.finditer(text)):
        found = marked[-1][1] or marked[-1][2]
        return _STATEMENT_END.split(found.strip().strip("*"), maxsplit=1)[0].strip() or None
    bare = text.strip()
    words = re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", bare)
    is_short = bare and len(bare) <= _MAX_BARE_CHARS and "\n" not in bare and len(words) <= 3
    return bare if is_short or PLAIN_NUMBER.fullmatch(bare) else None


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
