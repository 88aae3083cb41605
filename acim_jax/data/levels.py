"""Levels of difficulty: predicates over the pass rates of named models (arXiv:2504.00829, §3).

A level is a list of conditions; a problem has the level if it meets one of them, so it has a *set*
of levels. A condition maps columns to intervals, of which all must hold; it may ask for a kind of
problem, and may take a random share of the problems that meet it. `data.where` is a list of
conditions too, which may also ask for levels that problems have already.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

from acim_jax.records import Kind

#: A model's column: share of its samples that were right, and how many there were.
PASS_RATE, SAMPLES = "pass_rate/", "samples/"
#: The scoring models of arXiv:2504.00829, from the weakest to the strongest.
ROLES = ("small", "mid", "large")
#: Its three levels for a policy of the small model's size. That paper leaves open when the large
#: model "fails"; here it does unless every sample is right.
PUBLISHED: dict[str, object] = {
    "1": {"small": "(0, 1)"},
    "2": [{"small": 0, "mid": "(0, 1]"}, {"small": "(0, 1)", "mid": "(0, 1)"}],
    "3": [{"large": "[0, 1)"}, {"large": 1, "share": {"math": 0.5, "code": 0.1}}],
}

_SHARE, _KIND, _LEVELS = "share", "kind", "levels"
#: The field of a problem that holds its levels.
FIELD = "levels"
_INTERVAL = re.compile(r"([\[(])\s*([^\s,]+)\s*,\s*([^\s,]+)\s*([\])])")


@dataclasses.dataclass(frozen=True)
class Interval:
    """Numbers from low to high, each end in it or not."""

    low: float
    high: float
    has_low: bool
    has_high: bool

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.has_low else value > self.low
        return above and (value <= self.high if self.has_high else value < self.high)


@dataclasses.dataclass(frozen=True)
class Condition:
    """intervals: by column. share: of the problems that lie in them, by kind; 0 of a kind that is
    not asked for. levels: of which a problem must have one; empty asks for none."""

    intervals: Mapping[str, Interval]
    share: Mapping[str, float]
    levels: frozenset[str] = frozenset()

    def holds(
        self, columns: Mapping[str, float], kind: Kind, draw: float, levels: Sequence[object] = ()
    ) -> bool:
        """draw: uniform in [0, 1), the problem's own. levels: its levels. False where a column is
        missing."""
        inside = all(n in columns and columns[n] in i for n, i in self.intervals.items())
        is_asked_for = not self.levels or not self.levels.isdisjoint(map(str, levels))
        return inside and is_asked_for and draw < self.share[kind]


#: Conditions by the level's name.
Levels = Mapping[str, Sequence[Condition]]


def parse(content: object, where: str) -> Levels:
    """Levels from plain scalars, lists and mappings, as in `PUBLISHED`.

    A number stands for itself alone, `"(0, 1]"` for an interval without its first end. ValueError,
    beginning with `where`, for anything else.
    """
    found: dict[str, Sequence[Condition]] = {}
    for name, written in _mapping(content, f"{where}: levels by their names").items():
        listed = cast(list[object], written if isinstance(written, list) else [written])
        if not listed:
            raise ValueError(f"{where}: level {name} has no condition.")
        found[name] = conditions(listed, f"{where}: level {name}")
        if any(condition.levels for condition in found[name]):
            raise ValueError(f"{where}: level {name} asks for {_LEVELS}; it can ask for columns.")
    return found


def conditions(written: Sequence[object], where: str) -> list[Condition]:
    """Conditions from plain mappings; ValueError, beginning with `where`, for anything else."""
    return [_condition(one, where) for one in written]


def columns_of(conditions: Sequence[Condition]) -> set[str]:
    """The names of the columns that a level looks at."""
    return {name for condition in conditions for name in condition.intervals}


def meets(levels: Levels, columns: Mapping[str, float], kind: Kind, draw: float) -> list[str | int]:
    """The names of the levels that a problem has; a name of digits is a number."""
    return [
        int(name) if name.isdecimal() else name
        for name, conditions in levels.items()
        if any(condition.holds(columns, kind, draw) for condition in conditions)
    ]


def number(value: object) -> float | None:
    """A column's value as a number; None for anything else, true and false included."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None


def model_name(model: str) -> str:
    """What a model's columns are called by: the last part of its --model argument."""
    return Path(model).name


def roles(pairs: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Model names by role, from `ROLE=M` pairs; without any, `ROLES` in the order of `names`.

    ValueError for a pair of another form, a role given twice, and a model that has no column.
    """
    by_order = zip(ROLES, names, strict=False)
    found: dict[str, str] = {} if pairs else {role: name for role, name in by_order}
    for pair in pairs:
        role, equals, model = pair.partition("=")
        name = model_name(model)
        if not (role and equals and name):
            raise ValueError(f"--roles takes ROLE=M, e.g. small=models/1.5b; got {pair!r}.")
        if role in found or name not in names:
            problem = "is given twice" if role in found else f"names {name!r}, which has no column"
            raise ValueError(f"--roles: {role} {problem}; there are {', '.join(names) or 'none'}.")
        found[role] = name
    return found


def _condition(written: object, where: str) -> Condition:
    fields = _mapping(written, f"{where}: a condition of columns and intervals")
    shares = _shares(fields.pop(_SHARE, 1), f"{where}: {_SHARE}")
    kinds = get_args(Kind)
    if (kind := fields.pop(_KIND, None)) is not None:
        if kind not in kinds:
            raise ValueError(f"{where}: {_KIND} must be one of {', '.join(kinds)}, got {kind!r}.")
        shares = {one: share if one == kind else 0.0 for one, share in shares.items()}
    asked = fields.pop(_LEVELS, [])
    listed = cast(list[object], asked if isinstance(asked, list) else [asked])
    if not all(isinstance(one, str | int) for one in listed):
        raise ValueError(f"{where}: {_LEVELS} must be a level or a list of levels, got {asked!r}.")
    intervals = {n: _interval(value, f"{where}: {n}") for n, value in fields.items()}
    return Condition(intervals, shares, frozenset(map(str, listed)))


def _shares(written: object, where: str) -> dict[str, float]:
    kinds: tuple[str, ...] = get_args(Kind)
    by_kind = (
        cast(dict[str, object], written)
        if isinstance(written, dict)
        else dict.fromkeys(kinds, written)
    )
    found = dict.fromkeys(kinds, 1.0)
    for kind, value in by_kind.items():
        share = number(value)
        if kind not in kinds or share is None or not 0 <= share <= 1:
            raise ValueError(
                f"{where} must be a number from 0 to 1, or one for each of {', '.join(kinds)}; "
                f"got {written!r}."
            )
        found[kind] = share
    return found


def _interval(written: object, where: str) -> Interval:
    if (value := number(written)) is not None:
        return Interval(value, value, True, True)
    match = _INTERVAL.fullmatch(written.strip()) if isinstance(written, str) else None
    try:
        if match is not None:
            opened, low, high, closed = match.groups()
            return Interval(float(low), float(high), opened == "[", closed == "]")
    except ValueError:
        pass
    raise ValueError(
        f'{where}: needed a number or an interval in quotes such as "(0, 1]", got {written!r}.'
    )


def _mapping(value: object, wanted: str) -> dict[str, object]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{wanted} are needed, got {value!r}.")
    return dict(cast(dict[str, object], value))
