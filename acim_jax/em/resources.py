"""What iterations work with."""

import dataclasses

from acim_jax.config.run import RunConfig
from acim_jax.environment.executor import Executor
from acim_jax.grading.grader import Grader
from acim_jax.improve.demonstrations import Replay
from acim_jax.improve.learner import Learner
from acim_jax.markup.prefix_rows import PrefixEncoder
from acim_jax.rollout.sampler import Sampler


@dataclasses.dataclass(frozen=True, eq=False)
class Resources:
    """What iterations work with; `run/resources.py` opens and closes them.

    encoder: makes the rows of prompts and decision prefixes. replay: the demonstrations that every
    M-step sees again.
    """

    config: RunConfig
    encoder: PrefixEncoder
    sampler: Sampler
    executor: Executor
    grader: Grader
    learner: Learner
    replay: Replay
