"""What was edited in a run's config.yaml since the run began, and what may not be. No jax here."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

#: Fields and sections that the iterations so far stand on: with another value, the checkpoint, the
#: problems seen and the draws made would be those of no run.
FIXED = ("seed", "method", "model", "lora", "data", "stages")

#: Of those, what decides only how they are computed: another machine may need another value.
_FREE = ("model.unroll", "model.remat")
#: A mapping in which a name that is missing says something.
_MARKUP = "model.markup"

Config = Mapping[str, object]


class Change(NamedTuple):
    """A field, dotted, with the value that the run began with and the one that is there now."""

    field: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.field} was {_text(self.old)}, is {_text(self.new)}"


def between(old: Config | None, new: Config | None) -> Iterator[Change]:
    """The fields of both that differ; none where one is unknown.

    A field that only one of them has belongs to another version of this package, not to an edit.
    """
    return iter(()) if old is None or new is None else _between(old, new, "")


def sentences(old: Config | None, new: Config | None) -> list[str]:
    """One for each change."""
    return [f"config {change}" for change in between(old, new)]


def check(old: Config | None, new: Config | None, file: Path) -> None:
    """ValueError, naming `file`, for changes of what a run cannot go on without."""
    changes = [
        str(change)
        for change in between(old, new)
        if change.field.partition(".")[0] in FIXED and change.field not in _FREE
    ]
    if changes:
        fixed = f"{', '.join(FIXED[:-1])} or {FIXED[-1]}"
        raise ValueError(
            f"{file}: {'; '.join(changes)}. A run cannot go on with another {fixed} than it began "
            "with: put back what was there, or start a new run."
        )


def _between(old: Config, new: Config, prefix: str) -> Iterator[Change]:
    for name in (name for name in old if name in new):
        # Lists, as JSON has them, where a config has tuples.
        before, after = json.loads(json.dumps([old[name], new[name]]))
        if isinstance(before, dict) and isinstance(after, dict) and prefix + name != _MARKUP:
            yield from _between(before, after, f"{prefix}{name}.")
        elif before != after:
            yield Change(prefix + name, before, after)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
