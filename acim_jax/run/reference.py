"""The frozen model that the objective's KL is to: what iteration 1 begins with.

It is a checkpoint of its own, since those of the iterations are deleted one after another. A LoRA
run has its base instead.
"""

import dataclasses

import jax
import jax.numpy as jnp

from acim_jax import bad_input
from acim_jax.checkpoint import store
from acim_jax.improve.state import TrainState
from acim_jax.model import transformer
from acim_jax.run.open_run import OpenRun


def kept(this: OpenRun, state: TrainState) -> OpenRun:
    """The run with a copy of its starting parameters as the reference, which is saved too; the run
    itself where it needs none."""
    if not _is_needed(this):
        return this
    store.save(this.folder.checkpoints / "reference", 0, {"params": state.params}, {})
    # A copy: optimiser steps use up the state's own.
    return _with(this, jax.jit(lambda params: jax.tree.map(jnp.copy, params))(state.params))


def restored(this: OpenRun) -> OpenRun:
    """The run as `kept` left it. `BadInput` where its folder has no reference: the KL term cannot
    begin in the middle of a run."""
    if not _is_needed(this):
        return this
    like = {"params": this.resources.learner.abstract_state(None).params}
    with bad_input.reading():
        found, _ = store.restore(this.folder.checkpoints / "reference", 0, like)
    return _with(this, found["params"])


def _is_needed(this: OpenRun) -> bool:
    config = this.prepared.config
    return config.improve.kl_weight > 0 and config.lora is None and config.method != "sft"


def _with(this: OpenRun, params: transformer.Params) -> OpenRun:
    learner = dataclasses.replace(this.resources.learner, reference=params)
    resources = dataclasses.replace(this.resources, learner=learner)
    return dataclasses.replace(this, resources=resources)
