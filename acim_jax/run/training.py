"""One run from its first step to its last: warm-up, starting point, iterations, final evaluation.

Everything that decides a number is a function of the config and of the checkpoint, so a run that
was killed anywhere goes on to the same metrics. The order at the end of an iteration is: rollouts
and estimates, metrics line, checkpoint; on resume, lines after the checkpoint are cut and written
again. Rollouts that were finished stand in a journal and are not made again.
"""

import dataclasses
import logging
import time
from collections.abc import Sequence

import jax

from acim_jax import bad_input, own_code
from acim_jax.checkpoint import lora_base, store
from acim_jax.config import run as run_config
from acim_jax.config.run import RunConfig
from acim_jax.em import loop
from acim_jax.explore.curriculum import History
from acim_jax.improve.state import TrainState
from acim_jax.improve.training_set import TrainingSet
from acim_jax.rollout import journal
from acim_jax.run import (
    alarms,
    compilation,
    evaluations,
    iteration_files,
    iteration_metrics,
    mass_check,
    precompile,
    preparation,
    reference,
    resources,
    stored_rollouts,
    trackers,
    warm_up,
)
from acim_jax.run.folder import RunFolder
from acim_jax.run.iteration_metrics import Metrics
from acim_jax.run.metric_names import Metric
from acim_jax.run.metrics import MetricsWriter
from acim_jax.run.metrics import read as read_metrics
from acim_jax.run.open_run import Display, OpenRun
from acim_jax.run.preparation import Prepared
from acim_jax.run.stages import Position

log = logging.getLogger(__name__)

#: Seconds from which on the slowest answer of an iteration is shown.
SLOW_GRADE_S = 1.0


def run(prepared: Prepared, folder: RunFolder, display: Display, *, resume: bool) -> None:
    """Trains until the last iteration is checkpointed and evaluated; writes the run folder."""
    config = prepared.config
    step = store.latest(folder.checkpoints) if resume else None
    with (
        resources.opened(config, prepared.model, prepared.problems) as opened,
        compilation.CompileCounter() as compiled,
        _writer(config, folder, after=-1 if step is None else step) as writer,
    ):
        this = OpenRun(prepared, opened, folder, display)
        frozen = opened.learner.frozen
        if frozen is not None:
            with bad_input.reading():
                lora_base.settle(folder.path, prepared.model.name, frozen.params)
        if step is None:
            state, history, at, step = _begin(this), History(), Position(), 0
            learner = reference.kept(opened.learner, state.params, config, folder.checkpoints)
            this = this.with_learner(learner)
            first = this.in_stage(0)
            mass_check.check(state, first.prepared.train, first.resources)
            _compile(state, this, at)
            metrics = _starting_point(state, this)
            compile_metrics = iteration_metrics.of_compilation(compiled.take())
            writer.write(0, {**metrics, Metric.ROLLOUTS: 0, **compile_metrics})
            _save(this, 0, state, history, at)
        else:
            state, history, at = restore(this, step)
            learner = reference.restored(opened.learner, config, folder.checkpoints)
            this = this.with_learner(learner)
            _compile(state, this, at)
            compiled.take()
        state = _iterations(state, history, at, this, step + 1, writer, compiled)
        _finish(state, this)


def _iterations(
    state: TrainState,
    history: History,
    at: Position,
    this: OpenRun,
    first: int,
    writer: MetricsWriter,
    compiled: compilation.CompileCounter,
) -> TrainState:
    """All iterations from the `first` on, stage by stage."""
    config, save_s = this.prepared.config, 0.0
    stage = this.in_stage(at.stage)
    earlier = stored_rollouts.earlier(stage, first, at.first)
    for iteration in range(first, config.run.iterations + 1):
        state = begun(state, at, stage, this, iteration)
        result, metrics = _iterate(state, history, earlier, at, stage, this, iteration)
        state, history = result.state, result.history
        earlier = [result.data, *earlier][: stage.prepared.config.improve.max_staleness]
        compile_metrics = iteration_metrics.of_compilation(compiled.take())
        writer.write(iteration, {**metrics, Metric.TIME_SAVE: save_s, **compile_metrics})
        log.info(iteration_metrics.one_line(iteration, config.run.iterations, metrics))
        lines = read_metrics(this.folder.metrics)
        for alarm in alarms.new(lines):
            log.warning("iteration %d: %s", iteration, alarm)
        following = at.after(iteration, config, lines)
        if iteration % config.run.checkpoint_every == 0 or iteration == config.run.iterations:
            started = time.perf_counter()
            _save(this, iteration, state, history, following)
            save_s = time.perf_counter() - started
        if following != at:
            at, stage, earlier = following, this.in_stage(following.stage), []
    return state


def begun(
    state: TrainState, at: Position, stage: OpenRun, whole: OpenRun, iteration: int
) -> TrainState:
    """The state that an iteration begins with: where a stage begins that resets the optimiser, with
    new moments."""
    stages = whole.prepared.config.stages
    if stages and stages[at.stage].resets and iteration == at.first:
        return stage.resources.learner.with_new_moments(state)
    return state


def _compile(state: TrainState, this: OpenRun, at: Position) -> None:
    """All functions of the stages that are still to come, and of the evaluations: a stage that does
    not fit shows at the start."""
    for number in range(at.stage, len(this.prepared.stages)):
        precompile.compile_all(state, this.in_stage(number).resources)
    if this.prepared.config.stages:
        precompile.compile_sampling(state, this.resources)


def _writer(config: RunConfig, folder: RunFolder, *, after: int) -> MetricsWriter:
    """Of the iterations behind `after`, with the trackers that the config names."""
    mirrored = trackers.opened(
        config.run.trackers,
        folder.path,
        config.run.name,
        run_config.plain(config),
        first=after + 1,
    )
    return MetricsWriter(folder.path, mirrored, after=after)


def _begin(this: OpenRun) -> TrainState:
    """The starting weights (or adapters), warmed up; a fresh optimiser."""
    config, learner = this.prepared.config, this.resources.learner
    params = resources.starting_params(config, this.prepared.model, learner)
    if config.warmup.steps:
        params = warm_up.warm_up(params, this)
    return learner.new_state(params)


def check_step(folder: RunFolder, step: int) -> None:
    """ValueError where the checkpoint of an iteration is gone."""
    kept = store.steps(folder.checkpoints)
    if step not in kept:
        raise ValueError(
            f"{folder.path} has no checkpoint of iteration {step}; it has "
            f"{', '.join(map(str, kept)) or 'none'}. run.checkpoint_every and run.keep_checkpoints "
            "say which are kept."
        )


def restore(this: OpenRun, step: int) -> tuple[TrainState, History, Position]:
    """The state behind iteration `step`, what was explored until then, and what comes next."""
    like = this.resources.learner.abstract_state(this.prepared.config.lora)
    with bad_input.reading():
        state, metadata = store.restore(this.folder.checkpoints, step, like)
    return state, History.from_json(metadata["history"]), Position(**metadata["position"])


def _starting_point(state: TrainState, this: OpenRun) -> Metrics:
    """The metrics of iteration 0: what the starting checkpoint does, and could do."""
    prepared = this.prepared
    if prepared.config.method == "sft":
        return {}
    started = time.perf_counter()
    count = prepared.config.evaluation.start_problems
    if count != 0:
        test = preparation.spread(prepared.test, count)
        where = this.folder.evaluation("start")
        evaluations.full("evaluate the start", state, this, test, prepared.validation, where)
    explore = prepared.stages[0].config.explore
    metrics = evaluations.curve_metrics(state, this, explore)
    metrics |= evaluations.starting_metrics(this)
    return {**metrics, Metric.TIME_EVALUATE: time.perf_counter() - started}


def _iterate(
    state: TrainState,
    history: History,
    earlier: Sequence[TrainingSet],
    at: Position,
    this: OpenRun,
    whole: OpenRun,
    iteration: int,
) -> tuple[loop.Iteration, Metrics]:
    """this: the run in its stage, which trains. whole: the run itself, which evaluates."""
    prepared, config = this.prepared, this.prepared.config
    process = jax.process_index()
    started = time.perf_counter()
    rollouts = prepared.rollouts_per_iteration
    tools = [own_code.digest(spec) for spec in config.executor.tools]
    belongs_to = {"iteration": iteration, "config": run_config.plain(config), "tools": tools}
    with (
        this.display.rollouts(f"iteration {iteration}", rollouts) as on_rollouts,
        journal.opened(this.folder.rollouts(iteration, process), belongs_to) as kept,
    ):
        result = loop.em_iteration(
            state,
            prepared.train,
            history,
            this.resources,
            iteration,
            progress=at.progress(iteration, whole.prepared.config),
            earlier=earlier,
            on_rollouts=on_rollouts,
            journal=kept,
        )
    metrics: Metrics = {
        Metric.ROLLOUTS: result.history.rollouts,
        **({Metric.STAGE: at.stage + 1} if whole.prepared.config.stages else {}),
        **iteration_metrics.of_iteration(result, config.explore),
    }
    if iteration % config.evaluation.every == 0 or iteration == config.run.iterations:
        evaluating = time.perf_counter()
        metrics |= evaluations.curve_metrics(result.state, whole, config.explore)
        metrics[Metric.TIME_EVALUATE] = time.perf_counter() - evaluating
    if result.grading.slowest and max(result.grading.seconds) > SLOW_GRADE_S:
        log.info("slowest answer to grade: %r against %r", *result.grading.slowest)
    iteration_files.write(result, prepared.model.tokenizer, this.folder, iteration)
    metrics[Metric.TIME_TOTAL] = time.perf_counter() - started
    return result, metrics


def _finish(state: TrainState, this: OpenRun) -> None:
    """The final evaluation, unless it stands already (a resumed run) or is not wanted."""
    prepared, where = this.prepared, this.folder.evaluation("final")
    config = prepared.config
    if config.evaluation.final_problems == 0 or (where / "results.json").is_file():
        return
    # Only a warm-up's final evaluation is the start of other runs, which judge by its strata.
    validation = prepared.validation if config.method == "sft" else []
    test = preparation.spread(prepared.test, config.evaluation.final_problems)
    evaluations.full("evaluate the end", state, this, test, validation, where)


def _save(
    this: OpenRun, iteration: int, state: TrainState, history: History, following: Position
) -> None:
    """following: the position of the next iteration."""
    config = this.prepared.config
    metadata = {
        "iteration": iteration,
        "seed": config.seed,
        "history": history.to_json(),
        "position": dataclasses.asdict(following),
    }
    store.save(
        this.folder.checkpoints, iteration, state, metadata, keep=config.run.keep_checkpoints
    )
    kept = max(one.kept_rollouts for one in run_config.of_stages(config))
    this.folder.forget_rollouts(iteration - kept, jax.process_index())
