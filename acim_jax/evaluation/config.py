"""The `evaluation` section of a run."""

from acim_jax.section import AtLeastOne, NotNegative, section


@section
class EvaluationConfig:
    """What is measured, at temperature 0 unless said otherwise.

    The starting checkpoint's forced runs on all validation problems give the oracle selector: the
    better decision per family and level. The test problems are used only at the start and the end.
    """

    every: AtLeastOne = 2
    """Iterations between two points of the learning curve."""
    curve_problems: AtLeastOne = 200
    """Validation problems of a point of the learning curve, spread evenly over all."""
    curve_samples: NotNegative = 0
    """Rollouts of each of these problems beside the greedy one, drawn as training rollouts are:
    what a policy does now and then is on no greedy curve (`eval/sampled_*`). 0 draws none."""
    start_problems: NotNegative | None = None
    """Test problems that the starting checkpoint is evaluated on, natively and with both decisions
    forced; spread evenly, null is all. 0 leaves this evaluation out, with the forced runs of the
    validation problems that the learning curve's selection accuracy is judged by."""
    final_problems: NotNegative | None = None
    """As start_problems, at the end of the run."""
