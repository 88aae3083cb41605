"""The `explore` section of a run."""

from typing import Annotated, Literal

from annotated_types import Ge, Lt

from acim_jax.records import DECISIONS
from acim_jax.section import AtLeastOne, NotNegative, Positive, Share, Weight, section

Floor = Annotated[float, Ge(0), Lt(1 / len(DECISIONS))]
EstimatorName = Literal["prefix", "frequency", "hazard"]
StrategyName = Literal["regularised", "energy", "posterior", "value"]


@section
class ExploreConfig:
    """The E-step: what is explored, and what of it is kept."""

    problems: AtLeastOne = 32
    """Problems per iteration."""
    guided_rollouts: NotNegative = 4
    """Rollouts of a problem under each decision's guide (R of arXiv:2502.00691)."""
    native_rollouts: NotNegative = 0
    """Rollouts of a problem without a guide; plain RL has only these."""
    policy: EstimatorName = "prefix"
    """The estimator of π̂(c|x): `prefix` by the probabilities of the decision prefixes, `frequency`
    by what native rollouts did, `hazard` by the probability of opening a fence where a text goes
    on. Evaluations and the cross-entropy use `prefix` always."""
    min_mass: Share = 0.01
    """The least median probability, over training prompts, of beginning with any decision prefix.
    A run whose model (after warm-up) has less is refused before its first rollout; see
    `acim prefixes`. 0 never refuses."""
    prior_floor: Floor = 0.0
    """π̂ is raised to this at least before s* is computed from it, so that a decision which the
    policy hardly ever takes can still be preferred for its value."""
    value_pseudo_counts: Weight = 0.0
    """Rollouts of reward 1/2 that every decision is taken to have beside its own before s* is
    computed: a Beta prior on Q̂, against its noise at few rollouts. 0 is off."""
    strategy: StrategyName = "regularised"
    """The rule for s*(c|x); see `explore/strategy.py`."""
    alpha: Weight = 20.0
    """α of the strategies `energy` and `value`."""
    beta: Positive = 0.1
    """β of the strategy `regularised`."""
    keep: NotNegative = 4
    """Rollouts kept per problem, drawn by s*. 0 keeps all, weighted by s*."""

    def __post_init__(self) -> None:
        if self.rollouts_per_problem < 1:
            raise ValueError("guided_rollouts and native_rollouts are both 0; raise one of them.")
        if self.policy == "frequency" and self.native_rollouts < 1:
            raise ValueError(
                "policy is 'frequency', which counts native rollouts: native_rollouts must be 1 or "
                "more, got 0."
            )
        if self.guided_rollouts and self.keep > self.guided_rollouts:
            raise ValueError(
                f"keep must lie between 0 (all) and guided_rollouts = {self.guided_rollouts}, "
                f"got {self.keep}: all draws of a problem can fall on one decision."
            )

    @property
    def rollouts_per_problem(self) -> int:
        """Rollouts of a problem in an iteration, guided and native."""
        return len(DECISIONS) * self.guided_rollouts + self.native_rollouts
