"""The `evaluation` section of a run."""

from acim_jax.section import AtLeastOne, section


@section
class EvaluationConfig:
    """What is measured, at temperature 0.

    The starting checkpoint's forced runs on all validation problems give the oracle selector: the
    better decision per family and level. The test problems are used only at the start and the end.
    """

    every: AtLeastOne = 2
    """Iterations between two points of the learning curve."""
    curve_problems: AtLeastOne = 200
    """Validation problems of a point of the learning curve."""
    final: bool = True
    """Whether the test problems are evaluated at the end."""
