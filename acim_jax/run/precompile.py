"""Runs every program of a run once, on empty input, so that no iteration has to compile.

Which bucket widths an iteration needs depends on what was sampled; without this, a width that
first occurs in iteration 7 would be compiled there.
"""

import logging
import time

import jax
import jax.numpy as jnp
import numpy as np

from acim_jax.improve import packing, step
from acim_jax.improve.state import TrainState
from acim_jax.rollout import processes
from acim_jax.run.runtime import Runtime

log = logging.getLogger(__name__)


def compile_all(state: TrainState, runtime: Runtime) -> None:
    """Sampler, estimator and gradient programs in all shapes that the config allows."""
    started = time.perf_counter()
    count = processes.compile_all(runtime.to_sampling(state.params), runtime.sampler)
    if runtime.config.method != "sft":
        count += _compile_training(state, runtime)
    log.info("%d programs made ahead in %.1f s", count, time.perf_counter() - started)


def _compile_training(state: TrainState, runtime: Runtime) -> int:
    """Returns how many programs there are."""
    count = 1  # the optimiser's step
    config, learner = runtime.config.improve, runtime.learner
    one, temperature = np.float32(1.0), np.float32(runtime.config.sampling.temperature)
    gradients = step.zeros(state.params, layout=learner.layout)
    for width in config.buckets:
        count += 1
        batch = learner.place(packing.pack((), width, config.microbatch_rows))
        gradients, _ = step.add_policy_gradient(
            gradients,
            state.params,
            batch,
            one,
            temperature,
            clip_epsilon=config.clip_epsilon,
            chunk=config.logprob_chunk,
            **learner.shared,
        )
        if config.replay_weight > 0:
            count += 1
            gradients, _ = step.add_likelihood_gradient(
                gradients,
                state.params,
                batch,
                one,
                one,
                chunk=config.logprob_chunk,
                **learner.shared,
            )
    if runtime.config.explore.guided_rollouts and config.decision_weight > 0:
        count += 1
        rows = -(-runtime.config.explore.problems // config.minibatches)
        empty, _ = runtime.decision_batches((), (), 0, rows=rows)[0]
        gradients, _ = step.add_decision_gradient(
            gradients,
            state.params,
            learner.place(empty),
            one,
            one,
            temperature,
            chunk=config.logprob_chunk,
            **learner.shared,
        )
    # The optimiser's step donates its state, so it gets a copy to use up.
    spare = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))(state)
    jax.block_until_ready(
        step.apply(spare, gradients, np.float32(0.0), optimiser=learner.optimiser)
    )
    return count
