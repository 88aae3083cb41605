"""Data sets of the user's own: functions that give the records of a split (docs/problems.md)."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping

from acim_jax import own_code
from acim_jax.data import generated, reasoning_gym
from acim_jax.data.problem_records import Record
from acim_jax.own_code import Role

Function = Callable[..., Iterable[Record]]


def is_one(source: str) -> bool:
    """Whether a source of data names a function. The generators' prefixes are no modules."""
    known = source.startswith((generated.PREFIX, reasoning_gym.PREFIX))
    return own_code.is_spec(source) and not known


def find(source: str, setting: str) -> Function:
    """The function; errors as of `own_code.find`."""
    expected = "def problems(split: str) -> Iterable[dict]: ...  # train, validation or test"
    try:
        return own_code.find(source, Role(setting, ("split",), expected))
    except ValueError as error:
        place = source.partition(":")[0]
        if difflib.get_close_matches(place, [generated.PREFIX.rstrip(":")], cutoff=0.85):
            raise ValueError(f"{error} Or did you mean {generated.PREFIX}NAME?") from error
        raise


def records(source: str, split: str) -> Iterator[Record]:
    """The records of a split. ValueError, naming the function, where it raises, and where it gives
    something else than mappings."""
    function = find(source, f"data.{split}")
    count = 0
    try:
        for record in function(split=split):
            if not isinstance(record, Mapping):
                kind = type(record).__name__
                raise TypeError(f"record {count + 1} is a {kind}; needed is a dict of fields")
            yield record
            count += 1
    except Exception as error:
        what = own_code.raised(error, own_code.split(source)[0])
        raise ValueError(f"{source}: {what}, after {count} records.") from error
