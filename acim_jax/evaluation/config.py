"""The `evaluation` section of a run."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is measured, at temperature 0.

    every: iterations between two points of the learning curve. curve_problems: validation problems
    of a point. The starting checkpoint's forced runs on all validation problems give the oracle
    selector (the better decision per family and level); the test problems are used at the start
    and at the end alone. final: whether the test set is evaluated at all.
    """

    every: int = 2
    curve_problems: int = 200
    final: bool = True

    def __post_init__(self) -> None:
        if self.every < 1 or self.curve_problems < 1:
            raise ValueError(
                f"every and curve_problems must be at least 1, got {self.every} and "
                f"{self.curve_problems}."
            )
