"""One EM iteration of arXiv:2502.00691. Plain RL is the same call without guides and with λ = 0.

select problems → rollouts → rewards → Q̂ and π̂ → s* → curated examples → off-policy fit
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from acim_jax.em import e_step
from acim_jax.em.e_step import Exploration
from acim_jax.em.resources import Resources
from acim_jax.environment.measurements import Measurements
from acim_jax.explore import curate, transplant
from acim_jax.explore.curriculum import History
from acim_jax.grading.grader import GradingTimes
from acim_jax.improve import fit, packing, rescoring, training_set
from acim_jax.improve.fit import FitMetrics
from acim_jax.improve.state import TrainState
from acim_jax.improve.training_set import TrainingSet
from acim_jax.records import CurationCounts, Episode, Example, Problem
from acim_jax.rollout.journal import Journal
from acim_jax.rollout.progress import SILENT, Progress


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
    resources.grader.take_times()  # of evaluations
    started = time.perf_counter()
    exploration = e_step.explore(
        state, problems, history, resources, iteration, on_rollouts, journal
    )
    explored = time.perf_counter()
    programs, grading = resources.executor.take_measurements(), resources.grader.take_times()
    examples, counts, data = learned_from(exploration, resources, iteration)
    data_of_all = data.with_earlier(earlier)
    state, metrics = m_step(state, data_of_all, resources, iteration, progress=progress)
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


def m_step(
    state: TrainState,
    data: TrainingSet,
    resources: Resources,
    iteration: int,
    *,
    progress: float,
) -> tuple[TrainState, FitMetrics]:
    """The M-step of an iteration (`fit.improve`) as its config says."""
    config, learner = resources.config, resources.learner
    return fit.improve(
        state,
        data,
        learner,
        config.improve,
        seed=config.seed,
        iteration=iteration,
        lr=fit.learning_rate(config.improve, progress),
        int8_cache=config.sampling.kv_cache == "int8",
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
    """Answers made of two rollouts, those that a training row holds."""
    config, sampler = resources.config, resources.sampler
    if not config.explore.reflections:
        return []
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
