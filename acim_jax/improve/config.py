"""The `improve` and `warmup` sections of a run."""

import dataclasses
from typing import Annotated, Literal

from annotated_types import Gt, Le, Lt

from acim_jax.records import AdvantageName
from acim_jax.section import AtLeastOne, NotNegative, Positive, Share, Weight, Widths, section

RatioLevel = Literal["token", "sequence_mean", "sequence"]
PolicyForm = Literal["ppo_min", "clip_only", "is_detached", "topr", "awr"]
Aggregation = Literal["token", "sequence", "constant"]
Correction = Literal["none", "full", "truncated", "masked"]
KLEstimator = Literal["k1", "k2", "k3"]


@section
class PolicyObjective:
    """The policy term of the M-step: what compiled functions are specialised for."""

    ratio: RatioLevel = "token"
    """What ρ is the ratio of: `token`, each token; `sequence_mean`, the geometric mean over a
    rollout's target tokens (GSPO); `sequence`, their product."""
    form: PolicyForm = "ppo_min"
    """`ppo_min` is min(ρA, clip(ρ)A); `clip_only` clip(ρ)A, without a gradient outside the band;
    `is_detached` sg[clip(ρ)]·A·log π (CISPO); `topr` is A·log π with weight 1 for A ≥ 0 and
    sg[min(ρ, 1)] for A < 0; `awr` is min(exp(A/β), w_max)·log π, weighted likelihood."""
    clip_epsilon: Positive = 0.2
    """ε of the clipped ratio, which counts within [1 − ε, 1 + ε]. From 1 on there is no lower
    end."""
    clip_epsilon_high: Positive | None = None
    """ε of the band's upper end (DAPO's clip-higher); null is clip_epsilon."""
    dual_clip: Annotated[float, Gt(1)] | None = None
    """c of `ppo_min`: for A < 0 the objective is at least cA, so that a large ρ has no gradient.
    Null is off."""
    awr_temperature: Positive = 1.0
    """β of `awr`."""
    awr_max_weight: Positive = 20.0
    """w_max of `awr`."""
    aggregation: Aggregation = "token"
    """How tokens add up: `token`, each weighs the same (DAPO); `sequence`, each rollout, by its
    tokens' mean (GRPO); `constant`, as `token`, but over rollouts times a constant length
    (Dr.GRPO). No count depends on rewards, microbatches or devices."""
    correction: Correction = "none"
    """`none` takes ρ = π/μ. Else the trainer recomputes log-probs before the first update (π_prox),
    ρ is π/π_prox (decoupled PPO), and the objective is multiplied by the detached w = π_prox/μ at
    the ratio's level: as it is (`full`), as min(w, cap) (`truncated`), or only within [floor, cap]
    (`masked`)."""
    correction_cap: Positive = 2.0
    """Largest w of `truncated` and `masked`."""
    correction_floor: Weight = 0.5
    """Smallest w of `masked`."""
    kl_weight: Weight = 0.0
    """Weight of KL(π‖reference) in the loss. The reference is the model that iteration 1 begins
    with, whose weights are held beside the trained ones; of a LoRA run it is the base without
    adapters, which costs no memory."""
    kl_estimator: KLEstimator = "k2"
    """Of d = log π − log reference at sampled tokens: k1 = d, k2 = d²/2, k3 = exp(−d) − 1 + d. On
    policy only k2 has the KL's gradient; k1's is 0 in the mean, k3's that of the reversed KL."""
    entropy_weight: Weight = 0.0
    """Weight of the policy's entropy at target tokens, aggregated as the policy term; it is
    maximised."""
    entropy_tokens: AtLeastOne | None = None
    """Only so many target tokens behind each interpreter output have the entropy bonus (ARPO);
    null is every target."""

    def __post_init__(self) -> None:
        if self.dual_clip is not None and self.form != "ppo_min":
            raise ValueError(f"dual_clip belongs to form ppo_min, but form is {self.form}.")
        if self.form in ("topr", "awr"):
            wanted = "sequence" if self.form == "topr" else "token"
            if self.ratio != wanted:
                raise ValueError(
                    f"ratio must be {wanted} where form is {self.form}, got {self.ratio}."
                )
            if self.clip_epsilon_high is not None:
                raise ValueError(
                    f"clip_epsilon_high is {self.clip_epsilon_high:g}, but form {self.form} has no "
                    "band; leave it null."
                )
            if self.correction != "none":
                raise ValueError(
                    f"correction is {self.correction}, but form {self.form} weighs rollouts by "
                    "itself; set it to none."
                )
        if self.correction == "masked" and self.correction_floor >= self.correction_cap:
            raise ValueError(
                f"correction_floor is {self.correction_floor:g} and correction_cap "
                f"{self.correction_cap:g}: nothing lies between them. Lower the floor."
            )
        if self.entropy_tokens is not None and not self.entropy_weight:
            raise ValueError(
                f"entropy_tokens is {self.entropy_tokens}, but entropy_weight is 0; raise the "
                "weight, or leave entropy_tokens null."
            )

    @property
    def band(self) -> tuple[float, float]:
        """How far below and above 1 a ratio counts as it is."""
        high = self.clip_epsilon if self.clip_epsilon_high is None else self.clip_epsilon_high
        return self.clip_epsilon, high


@section
class ImproveConfig(PolicyObjective):
    """The M-step: its objective and its optimiser (AdamW)."""

    lr: Positive = 1e-6
    """Learning rate of the first iteration; falls linearly to lr · final_lr_fraction."""
    final_lr_fraction: Share = 0.1
    """Share of `lr` that the last iteration has."""
    b1: float = 0.9
    """β₁ of Adam."""
    b2: float = 0.98
    """β₂ of Adam."""
    weight_decay: Weight = 0.0
    """Decoupled weight decay."""
    max_grad_norm: Positive = 1.0
    """Global norm that gradients are clipped to."""
    advantage: AdvantageName = "normalised"
    """Of a rollout of reward r among those that share its baseline: `normalised`
    (r − mean)/(std + δ), `centred` r − mean, `rloo` against the mean of the others, `exact_em`
    (r − mean)/mean; and over both guides of a problem: `whitened` (r − mean)/(std + δ), `maxrl`
    r/mean − 1. `reward` is r itself, without a baseline: rollouts of reward 0 are rejected."""
    max_mismatch: Positive | None = None
    """Mean |log π − log μ| in nats a token, of the sampler's log-probs against the trainer's, above
    which an iteration is not trained on; null is 0.001 in float32, and 0.05 in other dtypes and
    with an int8 cache."""
    policy_weight: Weight = 1.0
    """Weight of the policy term; 0 leaves it out."""
    decision_weight: Weight = 1.0
    """λ, the weight of the decision cross-entropy."""
    replay_weight: Weight = 0.0
    """Weight of the demonstrations' log-likelihood; 0 replays none."""
    replay_rows: NotNegative = 32
    """Demonstrations per optimiser step."""
    max_staleness: NotNegative = 0
    """The rollouts of so many earlier iterations are trained on again, with the advantages and the
    log-probs that they had. 0 trains on an iteration's own. The cross-entropy is of the own ones
    always."""
    epochs: AtLeastOne = 1
    """Passes over an iteration's examples."""
    minibatches: AtLeastOne = 4
    """Optimiser steps per iteration and epoch."""
    microbatch_rows: AtLeastOne = 16
    """Rows on the devices at once; gradients are accumulated over microbatches by token counts."""
    buckets: Widths = (512, 1024, 2048)
    """Widths of training rows, each one compiled function. Episodes longer than the widest are
    dropped and counted."""
    logprob_chunk: NotNegative = 0
    """Columns of logits held at once; 0 holds all of them."""
    constant_length: AtLeastOne | None = None
    """Tokens that aggregation `constant` takes a rollout to have; null is the widest bucket. 1
    counts rollouts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.constant_length is not None and self.aggregation != "constant":
            raise ValueError(
                f"constant_length is {self.constant_length}, but aggregation is "
                f"{self.aggregation}; set aggregation: constant, or leave it null."
            )
        if self.replay_weight > 0 and self.replay_rows < 1:
            raise ValueError(
                f"replay_weight is {self.replay_weight} but replay_rows is {self.replay_rows}."
            )

    @property
    def objective(self) -> PolicyObjective:
        """Its own part: a change of another setting compiles nothing anew."""
        own = dataclasses.fields(PolicyObjective)
        return PolicyObjective(**{field.name: getattr(self, field.name) for field in own})


@section
class WarmupConfig:
    """Warm-up SFT: the model learns to do both before it learns when to do which."""

    steps: NotNegative = 0
    """Optimiser steps; 0 is no warm-up."""
    checkpoint_every: AtLeastOne = 250
    """Steps between two checkpoints of the warm-up."""
    rows: AtLeastOne = 64
    """Demonstrations per step."""
    lr: Positive = 1e-5
    """Highest learning rate: reached after `lr_warmup` steps, falling over the last ones."""
    lr_warmup: int = 50
    """Steps over which the learning rate rises."""
    decay_fraction: Annotated[float, Gt(0), Le(1)] = 0.5
    """Share of the steps, at the end, over which the learning rate falls linearly."""
    final_lr_fraction: Share = 0.03
    """Share of `lr` that the last step has."""
    b1: float = 0.9
    """β₁ of Adam."""
    b2: float = 0.98
    """β₂ of Adam."""
    weight_decay: Weight = 0.01
    """Decoupled weight decay."""
    max_grad_norm: Positive = 1.0
    """Global norm that gradients are clipped to."""
    code_prior: Annotated[float, Gt(0), Lt(1)] | None = 0.5
    """Probability of `code` that the openings are fitted to, whatever share of the demonstrations
    shows it: tokens that take a decision are weighted by its prior over its share. Null fits them
    to the shares."""
    decision_weight: Weight = 0.2
    """Weight of the tokens that take the decision against the bodies'."""
    buckets: Widths = (256, 512, 1024)
    """Widths of rows, each one compiled function."""
    logprob_chunk: NotNegative = 0
    """Columns of logits held at once; 0 holds all of them."""
