"""The evaluations of a run: at its start, at its end, and along its learning curve."""

import functools
from collections.abc import Sequence
from pathlib import Path

from acim_jax.checkpoint import fingerprint
from acim_jax.em import e_step
from acim_jax.em.resources import Resources
from acim_jax.evaluation import curve, pipeline, run_evaluation, tables
from acim_jax.evaluation.curve import Reference
from acim_jax.evaluation.rollouts import Solver
from acim_jax.explore import curriculum
from acim_jax.explore.config import ExploreConfig
from acim_jax.improve.state import TrainState
from acim_jax.records import Episode, Problem
from acim_jax.run import metric_names
from acim_jax.run.iteration_metrics import Metrics
from acim_jax.run.metric_names import DomainMetric
from acim_jax.run.open_run import OpenRun


def full(
    title: str,
    state: TrainState,
    run: OpenRun,
    test: Sequence[Problem],
    validation: Sequence[Problem],
    folder: Path,
) -> None:
    """Evaluates into `folder`, or goes on with what an interrupted run left there.

    Where the run that this one starts from ended with the same evaluation, that is copied.
    """
    model, resources = run.prepared.model, run.resources
    solver = _solver(state, resources)
    task = run_evaluation.task(test, validation, seed=resources.config.seed)
    settings = pipeline.settings_of(
        task,
        resources.sampler,
        resources.executor.config,
        resources.grader.config,
        model=model.name,
        step=model.step,
    )
    settings["weights"] = fingerprint.of_params(solver.params)
    earlier = None if model.run is None else model.run / "evaluation" / "final"
    if earlier is not None and run_evaluation.copied(earlier, folder, settings):
        return
    policies = {name: e_step.policy(state, of, resources) for name, of in task.problems.items()}
    bar = functools.partial(run.display.rollouts, title)
    run_evaluation.run(solver, task, folder, settings, policies=policies, bar=bar)


def curve_metrics(state: TrainState, run: OpenRun, explore: ExploreConfig) -> Metrics:
    """A point of the learning curve. explore: whose mix tells domains apart."""
    problems, seed = run.prepared.curve, run.resources.config.seed
    policy = e_step.policy(state, problems, run.resources)
    with run.display.rollouts("evaluate", len(problems)) as progress:
        solver = _solver(state, run.resources)
        episodes = curve.episodes(solver, problems, seed=seed, progress=progress)
    point = curve.point(episodes, problems, _start(run), policy)
    metrics = metric_names.of_fields("eval", point) | _of_domains(episodes, problems, explore)
    return metrics | _sampled(solver, problems, run)


def _sampled(solver: Solver, problems: Sequence[Problem], run: OpenRun) -> Metrics:
    config = run.resources.config
    samples = config.evaluation.curve_samples
    if not samples:
        return {}
    sampling = e_step.training_distribution(config)
    with run.display.rollouts("evaluate, sampled", len(problems) * samples) as progress:
        episodes = curve.sampled_episodes(
            solver, problems, samples, sampling, seed=config.seed, progress=progress
        )
    return metric_names.of_fields("eval", curve.sampled_point(episodes, samples))


def _of_domains(
    episodes: Sequence[Episode], problems: Sequence[Problem], explore: ExploreConfig
) -> Metrics:
    """The accuracy of each domain of the mix, null where no problem of the curve belongs to it."""
    pairs = list(zip(episodes, problems, strict=True))
    found: Metrics = {}
    for name in explore.mix:
        rewards = [e.reward for e, problem in pairs if curriculum.domain(problem, explore) == name]
        found |= metric_names.of_domain(name, {DomainMetric.ACCURACY: tables.mean(rewards)})
    return found


def starting_metrics(run: OpenRun) -> Metrics:
    """What the starting checkpoint earns by one decision always, and by the oracle's; nothing where
    it was not evaluated."""
    start = _start(run)
    if start is None:
        return {}
    return metric_names.of_fields("eval", curve.starting_lines(run.prepared.curve, start))


def _start(run: OpenRun) -> Reference | None:
    if run.prepared.config.evaluation.start_problems == 0:
        return None
    return curve.read_reference(run.folder.evaluation("start"))


def _solver(state: TrainState, resources: Resources) -> Solver:
    sampler = resources.sampler
    params = resources.learner.sampling_params(state.params, sampler.layout)
    return Solver(params, sampler, resources.executor, resources.grader)
