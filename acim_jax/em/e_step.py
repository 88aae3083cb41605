"""The E-step: select problems → rollouts → rewards → Q̂ and π̂ → s*."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from acim_jax.config.run import RunConfig
from acim_jax.em.resources import Resources
from acim_jax.explore import (
    curriculum,
    decisions,
    filters,
    hazard,
    plan,
    strategy,
    transplant,
    values,
)
from acim_jax.explore.config import ExploreConfig
from acim_jax.explore.curriculum import History
from acim_jax.explore.decisions import PolicyEstimate
from acim_jax.grading import reward
from acim_jax.improve.state import TrainState
from acim_jax.records import DecisionValues, Episode, Problem, SamplingParams
from acim_jax.rollout import processes
from acim_jax.rollout.engine import RolloutStats
from acim_jax.rollout.journal import Journal
from acim_jax.rollout.progress import SILENT, Progress


class Exploration(NamedTuple):
    """What the E-step found. problems: all that were explored; batch: those of them that the M-step
    learns from, all but the ones that dynamic sampling replaced. strategies: s* by problem id, only
    where some rollout succeeded."""

    problems: list[Problem]
    batch: list[Problem]
    episodes: list[Episode]
    values: list[DecisionValues]
    strategies: Mapping[str, np.ndarray]
    stats: RolloutStats


def explore(
    state: TrainState,
    problems: Sequence[Problem],
    history: History,
    resources: Resources,
    iteration: int,
    on_rollouts: Progress = SILENT,
    journal: Journal | None = None,
) -> Exploration:
    """The E-step: guided and native rollouts, their rewards, Q̂(x,c), π̂(c|x) and s*(c|x).

    Problems whose rollouts all earned the same are replaced by the next ones of the curriculum, in
    at most `explore.refill_rounds` further rounds (dynamic sampling, arXiv:2503.14476).
    """
    config = resources.config
    wanted, rounds = config.explore.problems, 1 + config.explore.refill_rounds
    order = curriculum.select(
        problems, history, wanted * rounds, config.explore, seed=config.seed, iteration=iteration
    )
    make = _rollouts(state, resources, iteration, on_rollouts, journal)
    chosen, num_agreeing = list[Problem](), 0
    episodes, stats = list[Episode](), RolloutStats()
    for _ in range(rounds):
        at = len(chosen)
        new = order[at : at + wanted - at + num_agreeing]
        if not new:
            break
        made, spent = make(new)
        chosen, episodes, stats = [*chosen, *new], [*episodes, *made], stats + spent
        if rounds > 1:
            num_agreeing += len(filters.agreeing(made, config.explore))
    policy = training_policy(state, chosen, episodes, resources)
    return judged(chosen, episodes, policy, stats, config.explore)


def judged(
    problems: list[Problem],
    episodes: list[Episode],
    policy: PolicyEstimate,
    stats: RolloutStats,
    config: ExploreConfig,
) -> Exploration:
    """What scored rollouts and a π̂ of the same problems say: Q̂, s*, and what is learned from."""
    estimates = values.estimate(problems, episodes, policy)
    strategies = strategy.of_estimates(estimates, config)
    agreeing = filters.agreeing(episodes, config) if config.refill_rounds else set[str]()
    batch = [problem for problem in problems if problem.id not in agreeing]
    return Exploration(problems, batch, episodes, estimates, strategies, stats)


def _rollouts(
    state: TrainState,
    resources: Resources,
    iteration: int,
    on_rollouts: Progress,
    journal: Journal | None,
) -> Callable[[Sequence[Problem]], tuple[list[Episode], RolloutStats]]:
    """The scored rollouts of some problems by the policy of this iteration."""
    config, seed, sampler = resources.config, resources.config.seed, resources.sampler
    params = resources.learner.sampling_params(state.params, sampler.layout)

    def make(problems: Sequence[Problem]) -> tuple[list[Episode], RolloutStats]:
        by_id = {problem.id: problem for problem in problems}
        episodes, stats = processes.converse(
            params,
            plan.requests(problems, config.explore, sampler.markup, seed=seed, iteration=iteration),
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
        return in_own_prompts(problems, episodes, resources), stats

    return make


def in_own_prompts(
    problems: Sequence[Problem], episodes: Sequence[Episode], resources: Resources
) -> list[Episode]:
    """The episodes, of which those behind a hint become answers to their problem without it."""
    if resources.config.explore.guide != "hint":
        return [*episodes]
    sampler = resources.sampler
    prompts = {p.id: sampler.tokenizer.prompt_ids(p.question, sampler.markup) for p in problems}
    return [
        e if e.guide == "native" else transplant.into_prompt(e, prompts[e.problem_id])
        for e in episodes
    ]


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
