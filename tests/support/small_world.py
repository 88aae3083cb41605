"""A world of one answer: text is right half of the time, code three times of four.

A tiny model learns it in a few seconds of warm-up SFT, so that whole EM iterations run on it with
the real interpreter, real grades and rewards that differ.
"""

import dataclasses

import jax

from acim_jax.checkpoint import model_names
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.config.run import RunConfig
from acim_jax.data.config import DataConfig
from acim_jax.environment.config import ExecutorConfig
from acim_jax.explore.config import ExploreConfig
from acim_jax.improve import state, warm_up
from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.improve.learner import Learner
from acim_jax.markup import Markup
from acim_jax.model import transformer
from acim_jax.records import Demonstration, Problem
from acim_jax.sampling.config import SamplingConfig
from tests.support import tiny_models

MARKUP = Markup(
    template="<|user|>{problem}<|assistant|>",
    text_prefixes=("Let me think.\n",),
    code_prefixes=("Let me code.\n```python\n",),
    max_turns=1,
    max_output_chars=32,
)
#: The last two cannot be solved: no rollout of theirs ever has a reward.
PROBLEMS = [Problem(f"p{i}", f"Find {i}", "7" if i < 10 else "9") for i in range(12)]
WARMUP = WarmupConfig(
    steps=150, rows=16, lr=1e-2, lr_warmup=10, code_prior=0.2, decision_weight=1.0, buckets=(48,)
)


def demonstrations() -> list[Demonstration]:
    """Text ends in 7 or 8; code prints 7 three times of four, and repeats what it printed. As many
    of either decision, as warm-up wants them."""
    made = []
    for i, problem in enumerate(PROBLEMS):
        for nth, answer in enumerate((7, 8, 7, 8)):
            response = f"Let me think.\n\\boxed{{{answer}}}"
            made.append(Demonstration(f"t{i}-{nth}", problem.question, response, "text"))
        for nth, printed in enumerate((7, 7, 7, 8)):
            response = (
                f"Let me code.\n```python\nprint({printed})\n```"
                f"\n```output\n{printed}\n```\n\\boxed{{{printed}}}"
            )
            made.append(Demonstration(f"c{i}-{nth}", problem.question, response, "code"))
    return made


def model(config=tiny_models.CONFIG) -> ModelFolder:
    folder = model_names.EMBEDDED["tiny"]
    return ModelFolder("small", folder, config, tiny_models.load_tokenizer(), MARKUP, True)


def warmed_up(config=tiny_models.CONFIG) -> transformer.Params:
    learner = Learner(config, state.optimizer(ImproveConfig()))
    params = jax.jit(transformer.init, static_argnums=0)(config, jax.random.key(0))
    rows = warm_up.rows(demonstrations(), tiny_models.load_tokenizer(), MARKUP, WARMUP)
    return warm_up.fit(
        learner.new_state(params),
        warm_up.batches(rows, WARMUP, seed=0),
        learner,
        WARMUP,
        first=0,
        last=WARMUP.steps,
    ).params


def run_config(**changes) -> RunConfig:
    config = RunConfig(
        data=DataConfig(demonstrations="generated:arithmetic"),
        warmup=WARMUP,
        explore=ExploreConfig(problems=6, guided_rollouts=4, native_rollouts=0, keep=4),
        improve=ImproveConfig(
            lr=3e-3, minibatches=2, microbatch_rows=8, replay_weight=0.0, buckets=(32, 56)
        ),
        sampling=SamplingConfig(
            slots=16, max_length=56, chunk=8, prefill_rows=8, prefill_buckets=(16,)
        ),
        executor=ExecutorConfig(workers=1, modules=()),
    )
    return dataclasses.replace(config, **changes)
