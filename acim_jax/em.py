"""One EM iteration of arXiv:2502.00691. Plain RL is the same call without guides and with λ = 0.

select problems → rollouts → rewards → Q̂ and π̂ → s* → curated examples → off-policy fit
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from acim_jax.config.run import RunConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.measurements import Measurements
from acim_jax.explore import (
    curate,
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
from acim_jax.grading.grader import Grader, GradingTimes
from acim_jax.improve import fit, packing, rescoring, training_set
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
    """What the E-step found. problems: all that were explored; batch: those of them that the M-step
    learns from, all but the ones that dynamic sampling replaced. strategies: s* by problem id, only
    where some rollout succeeded."""

    problems: list[Problem]
    batch: list[Problem]
    episodes: list[Episode]
    values: list[DecisionValues]
    strategies: Mapping[str, np.ndarray]
    stats: RolloutStats


class Iteration(NamedTuple):
    """data: the iteration's own, without earlier ones'. programs, grading: what executor and grader
    measured. explore_s, improve_s: wall time of the two steps."""

    state: TrainState
    history: History
    exploration: Exploration
    examples: list[Example]
    curation: CurationCounts
    data: TrainingSet
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
    earlier: Sequence[TrainingSet] = (),
    on_rollouts: Progress = SILENT,
    journal: Journal | None = None,
) -> Iteration:
    """One E-step and one M-step. progress: how much of the run lies behind, for the schedule.
    earlier: what the iterations before learned from, to be trained on again, newest first.
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
        state,
        data.with_earlier(earlier),
        resources.learner,
        config.improve,
        seed=config.seed,
        iteration=iteration,
        lr=lr,
    )
    history = history.updated(exploration.episodes)
    return Iteration(
        state,
        history,
        exploration,
        examples,
        counts,
        data,
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
    taken = {problem.id for problem in found.batch}
    episodes = [episode for episode in found.episodes if episode.problem_id in taken]
    if config.explore.reward_kl > 0:
        episodes = rescoring.reference_kl(
            episodes, resources.learner, config.improve, temperature=config.sampling.temperature
        )
    strategies = {name: s for name, s in found.strategies.items() if name in taken}
    examples, counts = curate.examples(
        episodes,
        [one for one in found.values if one.problem_id in taken],
        strategies,
        config.explore,
        advantage=config.improve.advantage,
        fits=lambda episode: packing.fits(episode, config.improve.buckets),
        seed=config.seed,
        iteration=iteration,
    )
    counts = counts.with_replaced(len(found.episodes) - len(episodes))
    joined = _reflections(episodes, resources, iteration)
    examples, counts = [*examples, *joined], counts.with_reflections(joined)
    data = training_set.build(
        examples,
        counts.drawn_tokens,
        float(len(found.batch) * config.explore.drawn_rollouts + len(joined)),
        found.batch,
        strategies,
        resources.encoder,
        resources.replay,
        config.improve,
        most_problems=config.explore.problems,
        temperature=config.sampling.temperature,
        seed=config.seed,
        iteration=iteration,
    )
    return examples, counts, data


def _reflections(
    episodes: Sequence[Episode], resources: Resources, iteration: int
) -> list[Example]:
    """Those that a training row holds."""
    config, sampler = resources.config, resources.sampler
    glue = transplant.Glue(
        sampler.markup.reflection,
        sampler.tokenizer.encode(sampler.markup.reflection),
        sampler.tokenizer.stop_ids(sampler.markup),
        sampler.markup.max_turns,
    )
    made = transplant.reflections(
        episodes, glue, config.explore.reflections, seed=config.seed, iteration=iteration
    )
    return [one for one in made if packing.fits(one.episode, config.improve.buckets)]


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
