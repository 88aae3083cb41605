"""One EM iteration of arXiv:2502.00691. Plain RL is the same call without guides and with λ = 0.

select problems → rollouts → rewards → Q̂ and π̂ → s* → curated examples → off-policy fit
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from acim_jax.explore import curate, curriculum, plan, strategy, values
from acim_jax.explore.curriculum import History
from acim_jax.grading import reward
from acim_jax.improve import fit, packing
from acim_jax.improve.fit import Lesson
from acim_jax.improve.state import TrainState
from acim_jax.records import (
    CurationCounts,
    DecisionValues,
    Episode,
    Example,
    Problem,
)
from acim_jax.rollout import processes
from acim_jax.rollout.converse import RolloutStats
from acim_jax.run.runtime import Runtime


class Exploration(NamedTuple):
    """What the E-step found. strategies: s* by problem id, only where some rollout succeeded."""

    problems: list[Problem]
    episodes: list[Episode]
    values: list[DecisionValues]
    strategies: Mapping[str, np.ndarray]
    stats: RolloutStats


class Iteration(NamedTuple):
    state: TrainState
    history: History
    exploration: Exploration
    examples: list[Example]
    curation: CurationCounts
    train_metrics: fit.Metrics
    seconds: dict[str, float]


def em_iteration(
    state: TrainState,
    problems: Sequence[Problem],
    history: History,
    runtime: Runtime,
    iteration: int,
    *,
    progress: float,
    on_rollout: Callable[[], None] = lambda: None,
) -> Iteration:
    """One E-step and one M-step. progress: how much of the run lies behind, for the schedule."""
    config = runtime.config
    started = time.perf_counter()
    exploration = explore(state, problems, history, runtime, iteration, on_rollout)
    explored = time.perf_counter()
    programs = runtime.executor.take_measurements().seconds()
    kept, counts = curate.examples(
        exploration.episodes,
        exploration.values,
        exploration.strategies,
        config.explore,
        advantage=config.improve.advantage,
        fits=lambda episode: packing.fits(episode, config.improve.buckets),
        seed=config.seed,
        iteration=iteration,
    )
    lesson = Lesson(
        rows=[packing.example_row(example) for example in kept],
        decisions=_decisions(exploration, runtime, iteration),
        replay=lambda at: runtime.replay(iteration, at),
        temperature=config.sampling.temperature,
    )
    state, metrics = fit.improve(
        state,
        lesson,
        runtime.learner,
        config.improve,
        seed=config.seed,
        iteration=iteration,
        lr=fit.learning_rate(config.improve, progress),
    )
    seconds = {
        "time/explore": explored - started,
        "time/execute": exploration.stats.execute_s,
        "time/full_slots": exploration.stats.sampled_tokens / max(exploration.stats.slot_steps, 1),
        "time/improve": time.perf_counter() - explored,
        **programs,
    }
    rewards = curriculum.mean_rewards(exploration.episodes)
    return Iteration(state, history.updated(rewards), exploration, kept, counts, metrics, seconds)


def explore(
    state: TrainState,
    problems: Sequence[Problem],
    history: History,
    runtime: Runtime,
    iteration: int,
    on_rollout: Callable[[], None] = lambda: None,
) -> Exploration:
    """The E-step: guided and native rollouts, their rewards, Q̂(x,c), π̂(c|x) and s*(c|x)."""
    config, seed = runtime.config, runtime.config.seed
    chosen = curriculum.select(
        problems, history, config.explore.problems, seed=seed, iteration=iteration
    )
    requests = plan.requests(chosen, config.explore, runtime.markup, seed=seed, iteration=iteration)
    params = runtime.to_sampling(state.params)
    by_id = {problem.id: problem for problem in chosen}
    episodes, stats = processes.converse(
        params,
        requests,
        runtime.sampler,
        runtime.executor,
        seed=seed,
        iteration=iteration,
        sampling=runtime.sampling_params,
        score=lambda own: reward.score(
            own, by_id, runtime.grader, runtime.executor, runtime.markup
        ),
        on_done=on_rollout,
    )
    policy = runtime.policy(state.params, chosen)
    estimates = values.estimate(chosen, episodes, policy)
    return Exploration(chosen, episodes, estimates, _strategies(estimates, runtime), stats)


def _strategies(estimates: Sequence[DecisionValues], runtime: Runtime) -> dict[str, np.ndarray]:
    """s* of the problems that both decisions were tried on and that some rollout solved."""
    config = runtime.config.explore
    tried = [one for one in estimates if np.all(one.counts > 0)]
    if not tried:
        return {}
    value_PC = np.stack([one.value for one in tried])
    strategy_PC = strategy.reference(
        np.stack([one.policy for one in tried]),
        value_PC,
        strategy=config.strategy,
        alpha=config.alpha,
        beta=config.beta,
    )
    alive = strategy.has_signal(value_PC)
    return {one.problem_id: s for one, s, a in zip(tried, strategy_PC, alive, strict=True) if a}


def _decisions(
    exploration: Exploration, runtime: Runtime, iteration: int
) -> list[tuple[packing.DecisionBatch, int]]:
    """The decision cross-entropy's batches: the queries in as many parts as there are steps."""
    config = runtime.config.improve
    if not exploration.strategies or config.decision_weight == 0:
        return []
    with_signal = [p for p in exploration.problems if p.id in exploration.strategies]
    return runtime.decision_batches(
        with_signal,
        [exploration.strategies[p.id] for p in with_signal],
        iteration,
        rows=-(-len(exploration.problems) // config.minibatches),
    )
