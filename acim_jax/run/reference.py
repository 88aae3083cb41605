"""The frozen model that the objective's KL is to: what iteration 1 begins with.

It is a checkpoint of its own, since those of the iterations are deleted one after another. A LoRA
run has its base instead.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp

from acim_jax import bad_input
from acim_jax.checkpoint import store
from acim_jax.config import run as run_config
from acim_jax.config.run import RunConfig
from acim_jax.improve.learner import Learner
from acim_jax.model import lora


def kept(learner: Learner, params: lora.Params, config: RunConfig, checkpoints: Path) -> Learner:
    """The learner with a copy of `params`, those that a run starts with, as its reference, which is
    saved too; the learner itself where the run needs none."""
    if not _is_needed(config):
        return learner
    store.save(checkpoints / "reference", 0, {"params": params}, {})
    # A copy: optimiser steps use up the state's own.
    copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))(params)
    return dataclasses.replace(learner, reference=copy)


def restored(learner: Learner, config: RunConfig, checkpoints: Path) -> Learner:
    """The learner as `kept` left it. `BadInput` where no reference was saved: the KL term cannot
    begin in the middle of a run."""
    if not _is_needed(config):
        return learner
    like = {"params": learner.abstract_state(None).params}
    with bad_input.reading():
        found, _ = store.restore(checkpoints / "reference", 0, like)
    return dataclasses.replace(learner, reference=found["params"])


def _is_needed(config: RunConfig) -> bool:
    stages = run_config.of_stages(config)
    return config.lora is None and any(one.has_reference for one in stages)
