"""The servers of symbolic comparisons: what they load, and the exit codes of their children.

`symbolic.py` itself is imported in these servers alone, which lack most modules: the two share this
file, which imports none.
"""

from acim_jax.environment.protocol import Job

JOB = Job(
    function="acim_jax.grading.symbolic:compare",
    modules=("math_verify", "latex2sympy2_extended", "antlr4", "sympy", "mpmath"),
    warm_up="acim_jax.grading.symbolic:warm_up",
)
#: Exit codes of `symbolic.compare`. Others mean that it failed.
EQUAL, DIFFERENT = 10, 11
