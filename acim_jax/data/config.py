"""The `data` section of a run."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from acim_jax.data import generated, levels, problem_records, reasoning_gym
from acim_jax.section import AtLeastOne, section


@section
class DataConfig:
    """Which problems train, validate and test (docs/problems.md)."""

    train: tuple[str, ...] = ("generated:arithmetic",)
    """Sources of training problems: a file, a known data set, a `datasets` hub name,
    `generated:NAME`, `reasoning-gym:NAME`, or a function of your own, `FILE.py:FUNCTION`."""
    validation: tuple[str, ...] = ("generated:arithmetic",)
    """Sources of validation problems."""
    test: tuple[str, ...] = ("generated:arithmetic",)
    """Sources of test problems."""
    num_train: AtLeastOne | None = 4096
    """At most this many from each source; null is all of a file and is refused for a generator."""
    num_validation: AtLeastOne | None = 600
    """As num_train, of validation problems."""
    num_test: AtLeastOne | None = 1100
    """As num_train, of test problems."""
    seed: int = 0
    """Of generated problems, not of the run: runs of several seeds are judged on the same
    problems."""
    mapping: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Our name of a problem's field -> its name in the files."""
    where: tuple[Mapping[str, Any], ...] = ()
    """Conditions on the fields of training problems, of which one must hold, such as
    [{levels: 2}], [{kind: math, levels: 1}, {kind: code, levels: 3}] or
    [{pass_rate/7b: "(0, 1)", share: 0.5}] (docs/problems.md). Empty takes all."""
    keep_unsolved: bool = False
    """Whether `where` keeps training problems that the strongest scoring model never solves."""
    demonstrations: str | None = None
    """Source of worked responses, for the warm-up and for replay: a file (`acim demonstrate` makes
    one), `generated:arithmetic`, or a function of your own."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train needs at least one source.")
        problem_records.check_mapping(self.mapping)
        levels.conditions(self.where, "where")
        for split in generated.SPLITS:
            number = cast(int | None, getattr(self, f"num_{split}"))
            for source in cast(tuple[str, ...], getattr(self, split)):
                endless = source.startswith((generated.PREFIX, reasoning_gym.PREFIX))
                if number is None and endless:
                    raise ValueError(f"num_{split} must say how many of {source!r} to make.")
