"""The `improve` and `warmup` sections of a run."""

from typing import Annotated

from annotated_types import Gt, Le, Lt

from acim_jax.records import AdvantageName
from acim_jax.section import AtLeastOne, NotNegative, Positive, Share, Weight, Widths, section


@section
class ImproveConfig:
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
    clip_epsilon: Positive = 0.2
    """ε of the clipped ratio, which counts within [1 − ε, 1 + ε]."""
    advantage: AdvantageName = "normalised"
    """`normalised` is (r − b)/(std + δ), `centred` is r − b."""
    max_mismatch: Positive | None = None
    """Mean |log π − log μ| in nats a token, of the sampler's log-probs against the trainer's, above
    which an iteration is not trained on; null is 0.001 in float32 and 0.05 in other dtypes."""
    policy_weight: Weight = 1.0
    """Weight of the policy term; 0 leaves it out."""
    decision_weight: Weight = 1.0
    """λ, the weight of the decision cross-entropy."""
    replay_weight: Weight = 0.0
    """Weight of the demonstrations' log-likelihood; 0 replays none."""
    replay_rows: NotNegative = 32
    """Demonstrations per optimiser step."""
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

    def __post_init__(self) -> None:
        if self.replay_weight > 0 and self.replay_rows < 1:
            raise ValueError(
                f"replay_weight is {self.replay_weight} but replay_rows is {self.replay_rows}."
            )


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
