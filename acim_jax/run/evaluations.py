"""The evaluations of a run: at its start, at its end, and along its learning curve."""

import functools
from collections.abc import Sequence
from pathlib import Path

from acim_jax import em
from acim_jax.checkpoint import fingerprint
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.em import Resources
from acim_jax.evaluation import curve, pipeline, run_evaluation
from acim_jax.evaluation.rollouts import Solver
from acim_jax.improve.state import TrainState
from acim_jax.records import Problem
from acim_jax.run.display import Display
from acim_jax.run.iteration_metrics import Metrics
from acim_jax.run.metric_names import Metric


def full(
    title: str,
    state: TrainState,
    resources: Resources,
    model: ModelFolder,
    test: Sequence[Problem],
    validation: Sequence[Problem],
    folder: Path,
    display: Display,
) -> None:
    """Evaluates into `folder`, or goes on with what an interrupted run left there.

    Where the run that this one starts from ended with the same evaluation, that is copied.
    """
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
    policies = {name: em.policy(state, of, resources) for name, of in task.problems.items()}
    progress = functools.partial(display.task, title)
    run_evaluation.run(solver, task, folder, settings, policies=policies, progress=progress)


def curve_metrics(
    state: TrainState,
    resources: Resources,
    problems: Sequence[Problem],
    start: Path,
    display: Display,
) -> Metrics:
    """A point of the learning curve. start: the folder of the starting checkpoint's evaluation."""
    policy = em.policy(state, problems, resources)
    with display.task("evaluate", len(problems)) as advance:
        point = curve.point(
            _solver(state, resources),
            problems,
            curve.read_reference(start),
            policy,
            seed=resources.config.seed,
            on_done=advance,
        )
    return {
        Metric.EVAL_N: point.n,
        Metric.ACCURACY: point.accuracy,
        Metric.ACCURACY_STDERR: point.accuracy_stderr,
        Metric.EVAL_CODE_RATE: point.code_rate,
        Metric.SELECTION_ACCURACY: point.selection_accuracy,
        Metric.POLICY_CODE_ON_CODE: point.policy_code_on_code_favoured,
        Metric.POLICY_CODE_ON_TEXT: point.policy_code_on_text_favoured,
        Metric.EXECUTIONS: point.executions_per_problem,
    }


def starting_metrics(problems: Sequence[Problem], start: Path) -> Metrics:
    """What the starting checkpoint earns by one decision always, and by the oracle's."""
    lines = curve.starting_lines(problems, curve.read_reference(start))
    return {
        Metric.ALWAYS_TEXT: lines.always_text,
        Metric.ALWAYS_CODE: lines.always_code,
        Metric.ORACLE: lines.oracle,
    }


def _solver(state: TrainState, resources: Resources) -> Solver:
    sampler = resources.sampler
    params = resources.learner.sampling_params(state.params, sampler.layout)
    return Solver(params, sampler, resources.executor, resources.grader)
