"""Opens what a run works with: mesh, sampler, learner, executor, grader."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, cast

import jax
import numpy as np

from acim_jax import bad_input
from acim_jax.checkpoint import model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.config.run import RunConfig
from acim_jax.em.resources import Resources
from acim_jax.environment.executor import Executor
from acim_jax.grading.grader import Grader
from acim_jax.improve import state as train_state
from acim_jax.improve.learner import Learner
from acim_jax.markup import prefix_rows
from acim_jax.markup.prefix_rows import PrefixEncoder
from acim_jax.model import lora
from acim_jax.records import Problem
from acim_jax.rollout.sampler import Sampler
from acim_jax.run import demonstrations
from acim_jax.sharding import mesh


@contextlib.contextmanager
def opened(
    config: RunConfig, model: ModelFolder, problems: Sequence[Problem]
) -> Iterator[Resources]:
    """A run's resources, closed behind it. problems: all that π̂(c|x) will be asked of.

    The base of a LoRA run is read here (`BadInput` where that fails).
    """
    train_layout, sample_layout = mesh.layouts(config.mesh)
    optimiser = train_state.optimizer(config.improve)
    frozen = None
    if config.lora is not None:
        with bad_input.reading():
            base = model_folder.load_params(model, train_layout)
        frozen = lora.Frozen(base, cast(Any, np.float32(config.lora.scale)))
    encoder = PrefixEncoder(
        model.tokenizer,
        model.markup,
        width=prefix_rows.width(model.tokenizer, model.markup, problems),
        shards=1 if train_layout is None else train_layout.shards("batch"),
    )
    sampler = Sampler(model.config, config.sampling, model.tokenizer, model.markup, sample_layout)
    with Executor(config.executor) as executor, Grader(config.grader, config.executor) as grader:
        yield Resources(
            config=config,
            encoder=encoder,
            sampler=sampler,
            executor=executor,
            grader=grader,
            learner=Learner(model.config, optimiser, train_layout, frozen),
            replay=demonstrations.replay(config, model),
        )


def of_stage(whole: Resources, config: RunConfig, model: ModelFolder) -> Resources:
    """The run's resources for one of its stages. What is compiled is shared where shapes and
    objective are equal; executor and grader are the same."""
    if config == whole.config:
        return whole
    optimiser = train_state.optimizer(config.improve)
    return dataclasses.replace(
        whole,
        config=config,
        sampler=dataclasses.replace(whole.sampler, config=config.sampling),
        learner=dataclasses.replace(whole.learner, optimiser=optimiser),
        replay=demonstrations.replay(config, model),
    )


def starting_params(config: RunConfig, model: ModelFolder, learner: Learner) -> lora.Params:
    """What a run begins to train, before its warm-up: adapters or weights, read or drawn."""
    if config.lora is not None:
        return learner.new_adapters(config.lora, config.seed)
    key = jax.random.key(config.seed) if config.model.init == "random" else None
    with bad_input.reading():
        return model_folder.load_params(model, learner.layout, init_key=key)
