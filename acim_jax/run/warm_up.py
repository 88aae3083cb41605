"""Warm-up SFT as the first stage of a run, resumable like everything else."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from acim_jax.checkpoint import store
from acim_jax.config.run import RunConfig
from acim_jax.data import demonstrations
from acim_jax.improve import demonstration_rows, fit
from acim_jax.improve import state as train_state
from acim_jax.model import transformer
from acim_jax.run.folder import RunFolder
from acim_jax.run.runtime import Runtime

log = logging.getLogger(__name__)

#: Different demonstrations that warm-up draws from; a pass over them is reshuffled each time.
POOL = 160_000
CHECKPOINT_STEPS = 250


@runtime_checkable
class Display(Protocol):
    """What shows progress: `task` opens a bar of `total` and gives what advances it."""

    def task(
        self, description: str, total: int
    ) -> contextlib.AbstractContextManager[Callable[[], None]]: ...


def warm_up(
    params: transformer.Params,
    config: RunConfig,
    runtime: Runtime,
    folder: RunFolder,
    display: Display,
) -> transformer.Params:
    """Warm-up SFT of what the run trains, with checkpoints of its own every CHECKPOINT_STEPS."""
    warmup, model = config.warmup, runtime.model
    optimiser = train_state.optimizer(
        b1=0.9,
        b2=warmup.b2,
        weight_decay=warmup.weight_decay,
        max_grad_norm=warmup.max_grad_norm,
    )
    learner = dataclasses.replace(runtime.learner, optimiser=optimiser)
    state = train_state.create(params, optimiser, runtime.train_layout)
    where = folder.checkpoints / "warmup"
    first = store.latest(where) or 0
    if first:
        state, _ = store.restore(where, first, state)
    sources = demonstrations.load(
        config.data.demonstrations,
        markup=model.markup,
        limit=min(POOL, warmup.steps * warmup.rows),
        seed=config.data.seed,
    )
    rows = demonstration_rows.warmup_rows(sources, model.tokenizer, model.markup, warmup)
    batches = demonstration_rows.warmup_batches(rows, warmup, seed=config.seed, first=first)
    with display.task("warm-up", warmup.steps - first) as advance:
        for start in range(first, warmup.steps, CHECKPOINT_STEPS):
            end = min(start + CHECKPOINT_STEPS, warmup.steps)
            state = fit.warmup(
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
