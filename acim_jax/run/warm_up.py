"""Warm-up as the first stage of a run, resumable like everything else."""

import dataclasses
import logging

from acim_jax.checkpoint import store
from acim_jax.improve import state as train_state
from acim_jax.improve import warm_up as sft
from acim_jax.model import transformer
from acim_jax.run import demonstrations
from acim_jax.run.open_run import OpenRun

log = logging.getLogger(__name__)


def warm_up(params: transformer.Params, run: OpenRun) -> transformer.Params:
    """SFT of what the run trains, with checkpoints of its own."""
    config, warmup, model = run.prepared.config, run.prepared.config.warmup, run.prepared.model
    learner = dataclasses.replace(run.resources.learner, optimiser=train_state.optimizer(warmup))
    state = learner.new_state(params)
    where = run.folder.checkpoints / "warmup"
    first = store.latest(where) or 0
    if first:
        state, _ = store.restore(where, first, state)
    rows, shown = demonstrations.warm_up_rows(config, model)
    log.info("warm-up draws from %s demonstrations", shown)
    batches = sft.batches(rows, warmup, seed=config.seed, first=first)
    with run.display.task("warm-up", warmup.steps - first) as advance:
        for start in range(first, warmup.steps, warmup.checkpoint_every):
            end = min(start + warmup.checkpoint_every, warmup.steps)
            state = sft.fit(
                state,
                batches,
                learner,
                warmup,
                first=start,
                last=end,
                on_step=advance,
                on_loss=lambda at, loss: log.info(
                    "warm-up step %d of %d, loss %.4f", at, warmup.steps, loss
                ),
            )
            if end < warmup.steps:
                store.save(where, end, state, {}, keep=1)
    return state.params
