"""The `grader` section of a run."""

from typing import Literal

from acim_jax import own_code
from acim_jax.section import Positive, section

Unboxed = Literal["stated", "never"]
Percent = Literal["either", "value", "unit"]
Rounding = Literal["tolerance", "digits", "exact"]


@section
class GraderConfig:
    """How answers and programs are graded."""

    timeout_s: Positive = 5.0
    """Wall and CPU seconds of one symbolic comparison, or of one judge of unit tests."""
    unboxed: Unboxed = "stated"
    """Without a box, `stated` takes what follows the last `####` with a value or `answer is`, else
    the whole response if it is short; `never` takes nothing."""
    percent: Percent = "either"
    """A percent sign on one side only: `5%` is `either` 5 or 0.05, its `value` 0.05, or a `unit` of
    5."""
    rounding: Rounding = "tolerance"
    """Where the reference is a decimal, a prediction may differ by 1e-6 of it (`tolerance`), may
    round to its `digits`, or must be `exact`."""
    code_reward: Literal["share", "all"] = "share"
    """The `share` of the unit tests passed, or 1 for `all` of them and else 0."""
    reward: str = ""
    """`FILE.py:FUNCTION` or `package.module:FUNCTION`: a reward of your own, from 0 to 1
    (docs/grading.md); empty for the built-in one."""

    def __post_init__(self) -> None:
        if self.reward:
            own_code.check_form("reward", self.reward)
