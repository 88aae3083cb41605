"""The `data` section of a run."""

import dataclasses
from collections.abc import Mapping
from typing import cast

from acim_jax.data import generated, problem_records, reasoning_gym


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which problems train, validate and test.

    train, validation, test: sources as `load` takes them. num_*: at most this many from each
    source; None is all of a file and is refused for a generator. seed: of generated problems, not
    of the run, so that runs of several seeds are judged on the same problems. mapping: our field
    name -> the name in the files. demonstrations: source of worked responses for warm-up.
    """

    train: tuple[str, ...] = ("generated:arithmetic",)
    validation: tuple[str, ...] = ("generated:arithmetic",)
    test: tuple[str, ...] = ("generated:arithmetic",)
    num_train: int | None = 4096
    num_validation: int | None = 600
    num_test: int | None = 1100
    seed: int = 0
    mapping: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    demonstrations: str = "generated:arithmetic"

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("data.train needs at least one source.")
        problem_records.check_mapping(self.mapping)
        for split in generated.SPLITS:
            number = cast(int | None, getattr(self, f"num_{split}"))
            if number is not None and number < 1:
                raise ValueError(f"data.num_{split} must be at least 1 or null, got {number}.")
            for source in cast(tuple[str, ...], getattr(self, split)):
                if number is None and is_endless(source):
                    raise ValueError(f"data.num_{split} must say how many of {source!r} to make.")


def is_endless(source: str) -> bool:
    return source.startswith((generated.PREFIX, reasoning_gym.PREFIX))
