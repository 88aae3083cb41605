"""One EM iteration of arXiv:2502.00691. Plain RL is the same call without guides and with λ = 0.

select problems → rollouts → rewards → Q̂ and π̂ → s* → curated examples → off-policy fit
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from acim_jax.config.run import RunConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.measurements import Measurements
from acim_jax.explore import curate, curriculum, decisions, hazard, plan, strategy, values
from acim_jax.explore.curriculum import History
from acim_jax.explore.decisions import PolicyEstimate
from acim_jax.grading import reward
from acim_jax.grading.grader import Grader, GradingTimes
from acim_jax.improve import fit, packing, training_set
from acim_jax.improve.demonstrations import Replay
from acim_jax.improve.fit import FitMetrics
from acim_jax.improve.learner import Learner
from acim_jax.improve.state import TrainState
from acim_jax.improve.training_set import TrainingSet
from acim_jax.markup.prefix_rows import PrefixEncoder
from acim_jax.records import (
    CurationCounts,
    DecisionValues,
    Episode,
    Example,
    Problem,
    SamplingParams,
)
from acim_jax.rollout import processes
from acim_jax.rollout.engine import RolloutStats
from acim_jax.rollout.journal import Journal
from acim_jax.rollout.progress import SILENT, Progress
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


class Exploration(NamedTuple):
    """What the E-step found. strategies: s* by problem id, only where some rollout succeeded."""

    problems: list[Problem]
    episodes: list[Episode]
    values: list[DecisionValues]
    strategies: Mapping[str, np.ndarray]
    stats: RolloutStats


class Iteration(NamedTuple):
    """programs, grading: what executor and grader measured. explore_s, improve_s: wall time of the
    two steps."""

    state: TrainState
    history: History
    exploration: Exploration
    examples: list[Example]
    curation: CurationCounts
    fit: FitMetrics
    programs: Measurements
    grading: GradingTimes
    explore_s: float
    improve_s: float


def em_iteration(
    state: TrainState,
    problems: Sequence[Problem],
    history: History,
    resources: Resources,
    iteration: int,
    *,
    progress: float,
    on_rollouts: Progress = SILENT,
    journal: Journal | None = None,
) -> Iteration:
    """One E-step and one M-step. progress: how much of the run lies behind, for the schedule.
    on_rollouts, journal: of the E-step's rollouts (`processes.converse`)."""
    config = resources.config
    resources.grader.take_times()  # of evaluations
    started = time.perf_counter()
    exploration = explore(state, problems, history, resources, iteration, on_rollouts, journal)
    explored = time.perf_counter()
    programs, grading = resources.executor.take_measurements(), resources.grader.take_times()
    examples, counts, data = learned_from(exploration, resources, iteration)
    lr = fit.learning_rate(config.improve, progress)
    state, metrics = fit.improve(
        state, data, resources.learner, config.improve, seed=config.seed, iteration=iteration, lr=lr
    )
    history = history.updated(exploration.episodes)
    return Iteration(
        state,
        history,
        exploration,
        examples,
        counts,
        metrics,
        programs,
        grading,
        explored - started,
        time.perf_counter() - explored,
    )


def learned_from(
    found: Exploration, resources: Resources, iteration: int
) -> tuple[list[Example], CurationCounts, TrainingSet]:
    """What of an exploration the M-step learns from."""
    config = resources.config
    examples, counts = curate.examples(
        found.episodes,
        found.values,
        found.strategies,
        config.explore,
        advantage=config.improve.advantage,
        fits=lambda episode: packing.fits(episode, config.improve.buckets),
        seed=config.seed,
        iteration=iteration,
    )
    data = training_set.build(
        examples,
        counts.drawn_tokens,
        float(len(found.problems) * config.explore.drawn_rollouts),
        found.problems,
        found.strategies,
        resources.encoder,
        resources.replay,
        config.improve,
        temperature=config.sampling.temperature,
        seed=config.seed,
        iteration=iteration,
    )
    return examples, counts, data


def explore(
    state: TrainState,
    problems: Sequence[Problem],
    history: History,
    resources: Resources,
    iteration: int,
    on_rollouts: Progress = SILENT,
    journal: Journal | None = None,
) -> Exploration:
    """The E-step: guided and native rollouts, their rewards, Q̂(x,c), π̂(c|x) and s*(c|x)."""
    config, seed, sampler = resources.config, resources.config.seed, resources.sampler
    chosen = curriculum.select(
        problems, history, config.explore.problems, config.explore, seed=seed, iteration=iteration
    )
    by_id = {problem.id: problem for problem in chosen}
    episodes, stats = processes.converse(
        resources.learner.sampling_params(state.params, sampler.layout),
        plan.requests(chosen, config.explore, sampler.markup, seed=seed, iteration=iteration),
        sampler,
        resources.executor,
        seed=seed,
        iteration=iteration,
        sampling=training_distribution(config),
        score=lambda own: reward.score(
            own, by_id, resources.grader, resources.executor, sampler.markup
        ),
        progress=on_rollouts,
        journal=journal,
    )
    estimates = values.estimate(
        chosen, episodes, training_policy(state, chosen, episodes, resources)
    )
    strategies = strategy.of_estimates(estimates, config.explore)
    return Exploration(chosen, episodes, estimates, strategies, stats)


def training_policy(
    state: TrainState,
    problems: Sequence[Problem],
    episodes: Sequence[Episode],
    resources: Resources,
) -> PolicyEstimate:
    """π̂(c|x) for s*, by the estimator of the config; the mass is of the prefixes always."""
    by_prefix = policy(state, problems, resources)
    config, learner, encoder = resources.config, resources.learner, resources.encoder
    match config.explore.policy:
        case "prefix":
            return by_prefix
        case "frequency":
            return by_prefix._replace(policy=decisions.frequency_policy(problems, episodes))
        case "hazard":
            estimate = hazard.hazard_policy(
                learner.model_params(state.params),
                problems,
                episodes,
                encoder.fence_ids,
                encoder.ends_line,
                learner.model,
                width=config.sampling.max_length,
                temperature=config.sampling.temperature,
                chunk=config.improve.logprob_chunk,
                layout=learner.layout,
            )
            return by_prefix._replace(policy=estimate)


def policy(state: TrainState, problems: Sequence[Problem], resources: Resources) -> PolicyEstimate:
    """π̂(c|x) of each problem by its prefixes, at the temperature of the training rollouts."""
    config, learner = resources.config, resources.learner
    return decisions.prefix_policy(
        learner.model_params(state.params),
        problems,
        resources.encoder,
        learner.model,
        temperature=config.sampling.temperature,
        chunk=config.improve.logprob_chunk,
        layout=learner.layout,
    )


def training_distribution(config: RunConfig) -> SamplingParams:
    """The distribution that training rollouts are drawn from."""
    chosen = config.sampling
    return SamplingParams(chosen.temperature, chosen.top_k, chosen.top_p, chosen.min_p)
