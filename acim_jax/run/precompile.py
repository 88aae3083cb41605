"""Calls every compiled function of a run once, on empty input, so that no iteration has to compile.

Which bucket widths an iteration needs depends on what was sampled; without this, a width that
first occurs in iteration 7 would be compiled there.
"""

import dataclasses
import logging
import time

import jax
import jax.numpy as jnp
import numpy as np

from acim_jax.em import e_step
from acim_jax.em.resources import Resources
from acim_jax.explore import decisions
from acim_jax.improve import mismatch, packing, rescoring, step, training_set
from acim_jax.improve.state import TrainState
from acim_jax.records import Author, Episode, Problem, Segment, Stop
from acim_jax.rollout import processes
from acim_jax.sharding import place

log = logging.getLogger(__name__)


def compile_all(state: TrainState, resources: Resources) -> None:
    """Sampler, π̂ and gradient terms, in all shapes that the config allows."""
    started = time.perf_counter()
    count = compile_sampling(state, resources)
    if resources.config.method != "sft":
        count += _compile_training(state, resources) + _compile_estimates(state, resources)
    log.info("%d functions compiled ahead in %.1f s", count, time.perf_counter() - started)


def compile_sampling(state: TrainState, resources: Resources) -> int:
    """The sampler's alone; returns how many there are."""
    params = resources.learner.sampling_params(state.params, resources.sampler.layout)
    return processes.compile_all(params, resources.sampler)


def _compile_estimates(state: TrainState, resources: Resources) -> int:
    """π̂(c|x) of the problems of an iteration."""
    config = resources.config
    # An iteration that replaces problems has any number of them.
    most = config.explore.problems * (1 + config.explore.refill_rounds)
    counts = range(config.explore.problems, most + 1)
    sizes = {size: count for count in counts for size in decisions.batch_sizes(count)}
    prompt = Segment(Author.PROMPT, np.zeros((1,), np.int32))
    written = Episode("", "text", 0, (prompt,), (), Stop.EOS, e_step.training_distribution(config))
    for count in {*sizes.values()}:
        e_step.training_policy(state, [Problem("", "", "")] * count, [written], resources)
    return len(sizes) + (config.explore.policy == "hazard")


def _compile_training(state: TrainState, resources: Resources) -> int:
    """Returns how many compiled functions there are."""
    run, learner = resources.config, resources.learner
    config = run.improve
    one, temperature = np.float32(1.0), np.float32(run.sampling.temperature)
    shared = {"chunk": config.logprob_chunk, **learner.shared}
    chosen = {"objective": config.objective, **shared}
    replays = config.replay_weight > 0
    decides = run.explore.guided_rollouts > 0 and config.decision_weight > 0
    gradients = step.zeros(state.params, layout=learner.layout)
    for width in config.buckets:
        rows = [packing.blank_row(config, width)]
        if run.recomputes:
            rows = [dataclasses.replace(rows[0], is_recomputed=True)]
        rescoring.rescored(rows, state.params, learner, config, temperature=1.0)
        if run.explore.reward_kl > 0:
            rescoring.reference_logprobs(rows, learner, config, temperature=1.0)
        batch = place.batch(packing.pack(rows, width, config.microbatch_rows), learner.layout)
        gradients, _ = step.add_policy_gradient(
            gradients, state.params, batch, one, temperature, **chosen
        )
        mismatch.sums(state.params, batch, temperature, **shared)
        if replays:
            plain = place.batch(packing.pack((), width, config.microbatch_rows), learner.layout)
            gradients, _ = step.add_likelihood_gradient(
                gradients, state.params, plain, one, one, **shared
            )
    if decides:
        empty = training_set.decision_batches(
            (), (), resources.encoder, config,
            most_problems=run.explore.problems, seed=run.seed, iteration=0,
        )[0]  # fmt: skip
        batch = place.batch(empty, learner.layout)
        gradients, _ = step.add_decision_gradient(
            gradients, state.params, batch, one, one, temperature, **shared
        )
    step.norm(gradients)
    # The optimiser's step donates its state, so it gets a copy to use up.
    spare = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))(state)
    jax.block_until_ready(
        step.apply(spare, gradients, np.float32(0.0), optimiser=learner.optimiser)
    )
    rescores = (config.correction != "none") + run.has_reference + run.recomputes
    return len(config.buckets) * (1 + replays + rescores) + decides + 2
