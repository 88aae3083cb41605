"""Symbolic comparisons as the grader sees them: the servers' job, and what a child's end means."""

from typing import NamedTuple

from acim_jax.environment.ending import Ending
from acim_jax.environment.job import Job
from acim_jax.records import Status

JOB = Job(
    function="acim_jax.grading.symbolic:compare",
    modules=("math_verify", "latex2sympy2_extended", "antlr4", "sympy", "mpmath"),
    warm_up="acim_jax.grading.symbolic:warm_up",
)
#: Exit codes of `symbolic.compare`. Others mean that it failed.
EQUAL, DIFFERENT = 10, 11


class Comparison(NamedTuple):
    """equal is False whenever status is not OK."""

    equal: bool
    status: Status
    wall_s: float


def of_ending(end: Ending) -> Comparison:
    """The verdict of a child that compared two answers, or how it failed."""
    if end.exit_code in (EQUAL, DIFFERENT):
        return Comparison(end.exit_code == EQUAL, Status.OK, end.wall_s)
    return Comparison(False, end.status, end.wall_s)
