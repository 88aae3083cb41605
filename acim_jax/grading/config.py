"""The `grader` section of a run."""

import dataclasses
import math
from typing import Literal

#: What counts where there is no box. stated: what follows the last `####` or `answer is`, else the
#: whole response if it is short. never: nothing.
Unboxed = Literal["stated", "never"]


Percent = Literal["either", "value", "unit"]


Rounding = Literal["tolerance", "digits", "exact"]


@dataclasses.dataclass(frozen=True)
class GraderConfig:
    """How answers and programs are graded.

    timeout_s: wall and CPU time of one symbolic comparison, or of one judge of unit tests.
    unboxed: without a box, `stated` takes what follows the last `####` or `answer is`, or a short
    response as a whole; `never` takes nothing. percent: a percent sign on one side only: `5%` is
    `either` 5 or 0.05, only its `value` 0.05, or a `unit` of 5. rounding: where the reference is a
    decimal, a prediction may differ by 1e-6 of it (`tolerance`), may round to its `digits`, or must
    be `exact`. code_reward: `share` of the unit tests passed, or 1 for `all` of them, else 0.
    """

    timeout_s: float = 5.0
    unboxed: Unboxed = "stated"
    percent: Percent = "either"
    rounding: Rounding = "tolerance"
    code_reward: Literal["share", "all"] = "share"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ValueError(f"grader.timeout_s must be a positive number, got {self.timeout_s}.")
