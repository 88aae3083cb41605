"""The `explore` section of a run."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from acim_jax.records import DECISIONS
from acim_jax.section import AtLeastOne, NotNegative, Positive, Share, Weight, section

Floor = Annotated[float, Ge(0), Lt(1 / len(DECISIONS))]
EstimatorName = Literal["prefix", "frequency", "hazard"]
StrategyName = Literal[
    "regularised",
    "energy",
    "hard",
    "posterior",
    "tempered",
    "value",
    "cost",
    "lexicographic",
    "always_text",
    "always_code",
]


@section
class ExploreConfig:
    """The E-step: what is explored, and what of it is kept."""

    problems: AtLeastOne = 32
    """Problems per iteration."""
    refill_rounds: NotNegative = 0
    """Further rounds of rollouts in an iteration, in which problems whose rollouts all have one
    reward are replaced by the next ones, until there are `problems` without them (DAPO's dynamic
    sampling). 0 replaces none."""
    mix: Mapping[str, Positive] = dataclasses.field(default_factory=dict[str, float])
    """Domain of problems -> its share of an iteration's problems, relative to the others', such as
    {math: 2.1, code: 1}. Empty draws from all alike. With a mix metrics are written by domain too
    (`domain/NAME/*`)."""
    mix_by: Literal["kind", "source", "subject", "level"] = "kind"
    """The field of a problem that names its domain; `kind` is math or code."""
    guided_rollouts: NotNegative = 4
    """Rollouts of a problem under each decision's guide (R of arXiv:2502.00691)."""
    guide: Literal["prefix", "hint"] = "prefix"
    """What leads to a guided rollout's decision: one of its `prefix`es alone, or also a `hint`
    behind the question (`markup.text_hint`, `code_hint`). What was sampled behind a hint is trained
    on without it, so its log-probs are of another context; see `hinted_logprobs`."""
    hinted_logprobs: Literal["recompute", "drop"] = "recompute"
    """`recompute` takes the trainer's log-probs before the first update for those of the sampler;
    `drop` leaves hinted rollouts out of the policy term: they serve Q̂ alone."""
    reflections: NotNegative = 0
    """Answers a problem in which an attempt by one decision fails and one by the other succeeds,
    made of two of its guided rollouts joined by `markup.reflection`. 0 makes none."""
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
    """α of the strategies `energy`, `tempered` and `value`."""
    beta: Positive = 0.1
    """β of the strategy `regularised`, and τ of `cost`."""
    call_price: Weight = 0.0
    """κ of the strategy `cost`: how much success a program is to bring at least."""
    call_price_by: Literal["constant", "difficulty"] = "constant"
    """`difficulty` lets κ fall with it, to κ · max_c Q(x, c): on a problem that is hardly ever
    solved, programs are nearly free."""
    keep: NotNegative = 4
    """Rollouts kept per problem, drawn by s*. 0 keeps all, weighted by s*."""
    native_keep: NotNegative = 0
    """Native rollouts kept per problem, drawn evenly; 0 keeps all."""
    prefer_clean: bool = False
    """Of the right rollouts of a draw, take the ones with the fewest failed programs; the wrong
    ones stay as they fell. Needs `keep` or `native_keep`."""
    reward_right: float = 1.0
    """The reward of a right answer in training. One that is right in part lies between this and
    `reward_wrong` in proportion. Q̂ and s* are of the success, 0 to 1, whatever the rewards are."""
    reward_wrong: float = 0.0
    """The reward of a wrong answer in training."""
    reward_kl: Weight = 0.0
    """A rollout's reward in training is lower by this times Σ (log μ − log reference) over the
    tokens that it sampled: KL in the reward. The reference is what iteration 1 begins with."""
    overlong_limit: NotNegative = 0
    """Tokens of a response from which on its reward in training is 1 lower."""
    overlong_buffer: NotNegative = 0
    """Tokens before `overlong_limit` over which the reward falls by that 1. 0 is no penalty."""
    drop_truncated: bool = False
    """Whether rollouts that ran out of room are left out of the loss."""
    drop_void: bool = False
    """Whether rollouts that ended with neither a program nor an answer are left out of the loss."""
    drop_calls_failed: bool = False
    """Whether rollouts none of whose programs succeeded are left out of the loss."""
    filtered_in_baseline: bool = True
    """Whether rollouts that one of these three filters leaves out still count in the baseline of
    the others, in what is drawn from, and in what the policy term is divided by."""
    accuracy_band: tuple[Share, Share] = (0.0, 1.0)
    """Rollouts that share a baseline are learned from if their mean success lies in this range."""

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

        if not self.guided_rollouts and (self.guide != "prefix" or self.reflections):
            raise ValueError(
                "guide and reflections are about guided rollouts, but guided_rollouts is 0; leave "
                "guide at prefix and reflections at 0."
            )
        if self.native_keep > self.native_rollouts:
            raise ValueError(
                f"native_keep must lie between 0 (all) and native_rollouts = "
                f"{self.native_rollouts}, got {self.native_keep}."
            )
        self._check_rewards_and_filters()

    def _check_rewards_and_filters(self) -> None:
        if self.prefer_clean and not (self.guided_rollouts and self.keep) and not self.native_keep:
            raise ValueError(
                "prefer_clean chooses among rollouts that are drawn, but all are kept: set keep "
                "(guided) or native_keep to fewer than there are."
            )
        if self.reward_right <= self.reward_wrong:
            raise ValueError(
                f"reward_right must be above reward_wrong, got {self.reward_right} and "
                f"{self.reward_wrong}."
            )
        if self.overlong_buffer > self.overlong_limit:
            raise ValueError(
                f"overlong_buffer is {self.overlong_buffer}, but lies before overlong_limit = "
                f"{self.overlong_limit}; set overlong_limit to the most tokens of a response."
            )
        low, high = self.accuracy_band
        if low > high:
            raise ValueError(f"accuracy_band must be [lowest, highest], got [{low}, {high}].")

    @property
    def rollouts_per_problem(self) -> int:
        """Rollouts of a problem in an iteration, guided and native."""
        return len(DECISIONS) * self.guided_rollouts + self.native_rollouts

    @property
    def guided_keep(self) -> int:
        """Guided rollouts of a problem that are learned from, those without an advantage too."""
        return self.keep or len(DECISIONS) * self.guided_rollouts

    @property
    def drawn_rollouts(self) -> int:
        """Rollouts of a problem that curation draws where all are usable."""
        guided = self.guided_keep if self.guided_rollouts else 0
        return guided + (self.native_keep or self.native_rollouts)
