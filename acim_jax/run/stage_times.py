"""How long the stages of a run would take on this machine, from a short measurement.

Measured are a decode step, the prompts' prefill, and a training microbatch, each with the run's own
compiled functions. How long responses will be is not known before: half of their room is assumed.
"""

# The types of jax are known in part.
# pyright: reportUnknownMemberType=false

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from acim_jax.config.run import RunConfig
from acim_jax.em import e_step
from acim_jax.em.resources import Resources
from acim_jax.improve import packing, step
from acim_jax.improve.state import TrainState
from acim_jax.records import DECISIONS, GUIDES, RolloutRequest
from acim_jax.rollout import converse
from acim_jax.run import resources
from acim_jax.run.preparation import Prepared
from acim_jax.sharding import place

#: Rollouts that are measured, and tokens of the short and the long ones.
ROLLOUTS, SHORT, LONG = 4, 2, 10
#: The share of its room that a response is taken to fill.
FILLED = 0.5
#: The parts of `estimate` that every iteration takes.
_ITERATION = ("rollouts of an iteration", "fit of an iteration")


class Speeds(NamedTuple):
    """Seconds of a decode step of all slots, of a prompt's token, of a training token (forward and
    backward), and of an optimiser's update."""

    step_s: float
    prompt_token_s: float
    training_token_s: float
    update_s: float


class Lengths(NamedTuple):
    """Tokens, on average: of prompts, and of responses (assumed)."""

    prompt: float
    response: float


def of(prepared: Prepared) -> dict[str, float]:
    """`estimate` of a run, which is opened for it; its warm-up is not made. With stages, each is
    measured, and taken to have as many iterations as it may."""
    config, model = prepared.config, prepared.model
    found: list[dict[str, float]] = []
    with resources.opened(config, model, prepared.problems) as opened:
        for own in prepared.stages:
            at_work = resources.of_stage(opened, own.config, model)
            state = at_work.learner.new_state(
                resources.starting_params(config, model, at_work.learner)
            )
            found.append(estimate(own, measure(state, own, at_work), lengths(own)))
    return combined(found, config) if config.stages else found[0]


def combined(found: Sequence[Mapping[str, float]], config: RunConfig) -> dict[str, float]:
    """One estimate from those of a run's stages, as if each were the whole run."""
    counts = [stage.iterations or 0 for stage in config.stages]
    counts[-1] = config.run.iterations - sum(counts)
    names = [stage.name for stage in config.stages]
    iterations = [sum(one[part] for part in _ITERATION) for one in found]
    rest = found[0]["the whole run"] - config.run.iterations * iterations[0]
    whole = rest + sum(n * seconds for n, seconds in zip(counts, iterations, strict=True))
    by_stage = {
        f"{part}, {name}": one[part]
        for name, one in zip(names, found, strict=True)
        for part in _ITERATION
    }
    shared = {
        part: seconds
        for part, seconds in found[0].items()
        if part not in (*_ITERATION, "the whole run")
    }
    return {**shared, **by_stage, "the whole run": whole}


def measure(state: TrainState, prepared: Prepared, opened: Resources) -> Speeds:
    """Needs a state to use up; every function is called once before it is timed."""
    step_s, prompt_token_s = _sampling(state, prepared, opened)
    run, learner = prepared.config, opened.learner
    width, rows = run.improve.buckets[-1], run.improve.microbatch_rows
    blank = packing.blank_row(run.improve, width)
    batch = place.batch(packing.pack([blank], width, rows), learner.layout)
    gradients = step.zeros(state.params, layout=learner.layout)
    one, temperature = np.float32(1.0), np.float32(run.sampling.temperature)
    shared = {"chunk": run.improve.logprob_chunk, **learner.shared}

    def microbatch() -> object:
        nonlocal gradients
        gradients, term = step.add_policy_gradient(
            gradients, state.params, batch, one, temperature,
            objective=run.improve.objective, **shared,
        )  # fmt: skip
        return term

    def update() -> object:
        nonlocal state
        state, norm = step.apply(state, gradients, np.float32(0.0), optimiser=learner.optimiser)
        return norm

    return Speeds(step_s, prompt_token_s, _timed(microbatch) / (rows * width), _timed(update))


def _sampling(state: TrainState, prepared: Prepared, opened: Resources) -> tuple[float, float]:
    sampler = opened.sampler
    params = opened.learner.sampling_params(state.params, sampler.layout)

    def roll(tokens: int) -> converse.RolloutStats:
        wanted = [
            RolloutRequest(problem, "native", 0, max_tokens=tokens)
            for problem in prepared.train[:ROLLOUTS]
        ]
        sampling = e_step.training_distribution(prepared.config)
        return converse.converse(
            params, wanted, sampler, None, seed=0, iteration=0, sampling=sampling
        )[1]

    roll(SHORT)
    times: list[float] = []
    stats: list[converse.RolloutStats] = []
    for tokens in (SHORT, LONG):
        started = time.perf_counter()
        stats.append(roll(tokens))
        times.append(time.perf_counter() - started)
    steps = max(stats[1].steps - stats[0].steps, 1)
    step_s = max(times[1] - times[0], 0.0) / steps
    prefill_s = max(times[0] - stats[0].steps * step_s, 0.0)
    return step_s, prefill_s / max(stats[0].prefill_tokens, 1)


def _timed(call: Callable[[], object]) -> float:
    jax.block_until_ready(call())
    started = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - started


def lengths(prepared: Prepared) -> Lengths:
    model = prepared.model
    prompts = [len(model.tokenizer.prompt_ids(p.question, model.markup)) for p in prepared.train]
    prompt = float(np.mean(prompts))
    return Lengths(prompt, FILLED * (prepared.config.sampling.max_length - prompt))


def estimate(prepared: Prepared, speeds: Speeds, tokens: Lengths) -> dict[str, float]:
    """Seconds of each stage, in the order in which they come, and of the whole run."""
    run = prepared.config
    slots = run.sampling.slots

    def rollouts(count: int, prompts: int) -> float:
        decoded = count * tokens.response / slots * speeds.step_s
        return decoded + prompts * tokens.prompt * speeds.prompt_token_s

    def evaluation(count: int | None, validation: int) -> float:
        test = len(prepared.test) if count is None else min(count, len(prepared.test))
        if test == 0:
            return 0.0
        made = len(GUIDES) * test + len(DECISIONS) * validation
        return rollouts(made, test + validation)

    def fitted(rows: int, length: float) -> float:
        return rows * length * speeds.training_token_s

    row = tokens.prompt + tokens.response
    problems = min(run.explore.problems, len(prepared.train))
    steps = run.improve.epochs * run.improve.minibatches
    drawn = problems * run.explore.drawn_rollouts
    fit = fitted(run.improve.epochs * drawn, row) + steps * speeds.update_s
    if run.replays:
        fit += fitted(steps * run.improve.replay_rows, row)
    points = -(-run.run.iterations // run.evaluation.every) if run.run.iterations else 0
    curve = len(prepared.curve)
    stages = {
        "warm-up": run.warmup.steps * (fitted(run.warmup.rows, row) + speeds.update_s),
        "evaluation of the start": evaluation(
            run.evaluation.start_problems, len(prepared.validation)
        )
        * (run.method != "sft"),
        "rollouts of an iteration": rollouts(prepared.rollouts_per_iteration, problems),
        "fit of an iteration": fit,
        "a point of the curve": rollouts(curve, curve),
        "evaluation of the end": evaluation(
            run.evaluation.final_problems,
            len(prepared.validation) if run.method == "sft" else 0,
        ),
    }
    names = [*stages]
    whole = sum(stages[name] for name in (names[0], names[1], names[5]))
    whole += run.run.iterations * (stages[names[2]] + stages[names[3]])
    whole += (points + (run.method != "sft")) * stages[names[4]]
    return {**stages, "the whole run": whole}
