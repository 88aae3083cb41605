"""The M-step of an iteration made again on its stored rollouts: a loss is tried or debugged without
sampling. Nothing is written."""

from pathlib import Path

from acim_jax import bad_input
from acim_jax.config.run import RunConfig
from acim_jax.em import loop
from acim_jax.run import (
    config_changes,
    iteration_metrics,
    metrics,
    preparation,
    reference,
    resources,
    stored_rollouts,
    training,
)
from acim_jax.run import folder as run_folder
from acim_jax.run.iteration_metrics import Metrics
from acim_jax.run.open_run import Display, OpenRun

#: Sections of the config that may be other than the run's: they come behind the rollouts.
FREE = ("explore", "improve", "grader", "executor", "mesh")


def check(old: config_changes.Config, new: config_changes.Config) -> None:
    """ValueError for a changed field that the stored rollouts depend on."""
    changes = config_changes.between(old, new)
    changed = [one for one in changes if one.field.partition(".")[0] not in FREE]
    if changed:
        raise ValueError(
            f"--replay: {'; '.join(map(str, changed))}. The rollouts were made with the run's own; "
            f"only {', '.join(FREE)} may be set."
        )


def again(
    path: Path, iteration: int, config: RunConfig, display: Display
) -> tuple[Metrics, Metrics]:
    """The metrics of curation and M-step as the run at `path` had them, and as `config` gives them
    from the same checkpoint and rollouts. `BadInput` where the folder no longer holds these."""
    with bad_input.reading():
        run_folder.read_manifest(path)
        folder = run_folder.RunFolder(path)
        lines = metrics.read(folder.metrics)
        then = next((line for line in lines if line["iteration"] == iteration), None)
        if then is None:
            raise ValueError(f"{path} has no iteration {iteration}; its last is {len(lines) - 1}.")
        training.check_step(folder, iteration - 1)
        prepared = preparation.prepare(config)
    with resources.opened(config, prepared.model, prepared.problems) as opened:
        learner = reference.restored(opened.learner, config, folder.checkpoints)
        this = OpenRun(prepared, opened, folder, display).with_learner(learner)
        state, _, at = training.restore(this, iteration - 1)
        stage = this.in_stage(at.stage)
        state = training.begun(state, at, stage, this, iteration)
        with bad_input.reading():
            found = stored_rollouts.exploration(stage, iteration)
            earlier = stored_rollouts.earlier(stage, iteration, at.first)
        _, counts, data = loop.learned_from(found, stage.resources, iteration)
        data, progress = data.with_earlier(earlier), at.progress(iteration, config)
        _, fitted = loop.m_step(state, data, stage.resources, iteration, progress=progress)
    now = iteration_metrics.of_learning(counts, fitted)
    return {name: then.get(name) for name in now}, now
