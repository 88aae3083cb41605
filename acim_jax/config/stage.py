"""The `stages` of a run: each with its own data, lengths and losses, one after another."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from acim_jax.section import AtLeastOne, section

#: The sections that a stage may change, and of `data` the fields.
SECTIONS = ("data", "explore", "improve", "sampling")
DATA = ("train", "num_train", "mapping", "where", "keep_unsolved")


@section
class PlateauConfig:
    """A stage has come to a plateau once a metric hardly rises any more: its mean over the last
    `window` of the stage's iterations that have it is at most `min_gain` above the mean over the
    `window` before them."""

    metric: str = "eval/accuracy"
    """A metric that rises as training goes well, as metrics.jsonl names it."""
    window: AtLeastOne = 5
    """Values that a mean is over. Metrics of evaluations have one every `evaluation.every`
    iterations."""
    min_gain: float = 0.0
    """The most that the mean may have risen."""
    at_least: AtLeastOne = 1
    """Iterations that the stage has in any case."""


@section
class StageConfig:
    """One stage. What its sections do not say is as in the run's own."""

    name: str = ""
    """Shown in logs and reports."""
    iterations: AtLeastOne | None = None
    """Iterations after which the next stage begins, at the latest; null in the last stage, which
    goes on to `run.iterations`."""
    plateau: PlateauConfig | None = None
    """Ends the stage earlier."""
    optimiser: Literal["keep", "reset"] = "keep"
    """`reset` begins the stage with new moments of Adam."""
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Other training problems: `train`, `num_train`, `mapping`, `where`, `keep_unsolved`."""
    explore: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Fields of `explore`."""
    improve: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Fields of `improve`. The learning rate falls over the stage's iterations."""
    sampling: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Fields of `sampling`, for training rollouts. Evaluations take the run's own, so that stages
    can be compared."""

    @property
    def resets(self) -> bool:
        return self.optimiser == "reset"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: every stage needs one.")
        if other := [field for field in self.data if field not in DATA]:
            raise ValueError(
                f"data.{other[0]} cannot change within a run, which is judged on the same problems "
                f"throughout; of data a stage may set {', '.join(DATA)}."
            )
