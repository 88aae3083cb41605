"""One run from its first step to its last: warm-up, starting point, iterations, final evaluation.

Everything that decides a number is a function of the config and of the checkpoint, so a run that
was killed anywhere goes on to the same metrics. The order at the end of an iteration is: rollouts
and estimates, metrics line, checkpoint; on resume, lines after the checkpoint are cut and written
again.
"""

import dataclasses
import logging
import time
from pathlib import Path
from typing import Any

import jax

from acim_jax import bad_input, em
from acim_jax.checkpoint import lora_base, model_folder, store
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.config.run import RunConfig
from acim_jax.data import problems
from acim_jax.explore.curriculum import History
from acim_jax.improve.state import TrainState
from acim_jax.model import lora
from acim_jax.records import Problem
from acim_jax.run import compilation, iteration_files, measure, precompile, warm_up
from acim_jax.run import runtime as runtimes
from acim_jax.run.folder import RunFolder
from acim_jax.run.metrics import MetricsWriter
from acim_jax.run.runtime import Runtime
from acim_jax.run.warm_up import Display

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A run's input, read and checked: nothing has been written yet."""

    config: RunConfig
    model: ModelFolder
    train: list[Problem]
    validation: list[Problem]
    test: list[Problem]

    @property
    def curve(self) -> list[Problem]:
        return self.validation[: self.config.evaluation.curve_problems]

    @property
    def data_files(self) -> list[Path]:
        data = self.config.data
        names = {*data.train, *data.validation, *data.test, data.demonstrations}
        return sorted(Path(name) for name in names if Path(name).is_file())


def prepare(config: RunConfig) -> Prepared:
    """Reads and checks everything a run needs; raises ValueError or FileNotFoundError."""
    model = model_folder.open_model(config.model)
    splits = {
        split: problems.load_split(config.data, split) for split in ("train", "validation", "test")
    }
    prepared = Prepared(config, model, splits["train"], splits["validation"], splits["test"])
    if config.lora is not None:
        lora.check(config.lora, model.config)
    _check_lengths(prepared)
    runtimes.check_rows(config)
    return prepared


def _check_lengths(prepared: Prepared) -> None:
    config, model = prepared.config, prepared.model
    width = runtimes.prefix_width(model, prepared.train, multiple=1)
    if width >= config.sampling.max_length:
        raise ValueError(
            f"sampling.max_length is {config.sampling.max_length}, but the longest training prompt "
            f"with its decision prefix takes {width} tokens; raise it to leave room for a response."
        )
    if model.config.max_positions < config.sampling.max_length:
        raise ValueError(
            f"sampling.max_length is {config.sampling.max_length}; the model was made for at most "
            f"{model.config.max_positions} positions."
        )


def run(prepared: Prepared, folder: RunFolder, display: Display, *, resume: bool) -> None:
    """Trains until the last iteration is checkpointed and evaluated; writes the run folder."""
    config = prepared.config
    step = store.latest(folder.checkpoints) if resume else None
    everything = [*prepared.train, *prepared.validation, *prepared.test]
    with (
        runtimes.open_runtime(config, prepared.model, everything) as runtime,
        compilation.CompileCounter() as compiled,
        MetricsWriter(
            folder.path, tensorboard=config.run.tensorboard, after=-1 if step is None else step
        ) as writer,
    ):
        if runtime.learner.frozen is not None:
            with bad_input.reading():
                lora_base.settle(folder.path, prepared.model.name, runtime.learner.frozen.params)
        if step is None:
            state, history = _begin(prepared, runtime, folder, display), History()
            precompile.compile_all(state, runtime)
            row = _starting_point(state, prepared, runtime, folder, display)
            writer.write(0, {**row, "rollouts": 0, **_compile_metrics(compiled)})
            _save(folder, 0, state, history, config)
            step = 0
        else:
            with bad_input.reading():
                state, metadata = store.restore(folder.checkpoints, step, runtime.abstract_state())
            history = History.from_json(metadata["history"])
            precompile.compile_all(state, runtime)
            compiled.take()
        save_seconds = 0.0
        for iteration in range(step + 1, config.run.iterations + 1):
            state, history, row = _iterate(
                state, history, prepared, runtime, folder, display, iteration
            )
            writer.write(
                iteration, {**row, "time/save": save_seconds, **_compile_metrics(compiled)}
            )
            log.info(_one_line(iteration, config.run.iterations, row))
            if iteration % config.run.checkpoint_every == 0 or iteration == config.run.iterations:
                started = time.perf_counter()
                _save(folder, iteration, state, history, config)
                save_seconds = time.perf_counter() - started
        _finish(state, prepared, runtime, folder, display)


def _begin(prepared: Prepared, runtime: Runtime, folder: RunFolder, display: Display) -> TrainState:
    """The starting weights (or adapters): read or drawn, then warmed up; a fresh optimiser."""
    config = prepared.config
    key = jax.random.key(config.seed) if config.model.init == "random" else None
    if config.lora is not None:
        params = runtime.new_adapters()
    else:
        with bad_input.reading():
            params = model_folder.load_params(prepared.model, runtime.train_layout, init_key=key)
    if config.warmup.steps:
        params = warm_up.warm_up(params, config, runtime, folder, display)
    return runtime.new_state(params)


def _starting_point(
    state: TrainState, prepared: Prepared, runtime: Runtime, folder: RunFolder, display: Display
) -> dict[str, Any]:
    """The metrics of iteration 0: what the starting checkpoint does, and could do."""
    if prepared.config.method == "sft":
        return {}
    started = time.perf_counter()
    where = folder.evaluation("start")
    source = measure.reusable_start(runtime)
    if source is not None:
        measure.copy(source, where)
    else:
        size = measure.full_size(prepared.test, prepared.validation)
        with display.task("evaluate the start", size) as advance:
            measure.full(
                state.params,
                runtime,
                prepared.test,
                prepared.validation,
                where,
                on_done=advance,
            )
    row = _curve_row(state, prepared, runtime, folder, display)
    reference = measure.read_reference(where, prepared.validation)
    row |= measure.starting_lines(prepared.curve, reference)
    return {**row, "time/evaluate": time.perf_counter() - started}


def _iterate(
    state: TrainState,
    history: History,
    prepared: Prepared,
    runtime: Runtime,
    folder: RunFolder,
    display: Display,
    iteration: int,
) -> tuple[TrainState, History, dict[str, Any]]:
    config = prepared.config
    started = time.perf_counter()
    per_iteration = config.explore.rollouts_per_problem * min(
        config.explore.problems, len(prepared.train)
    )
    with display.task(f"iteration {iteration}", per_iteration) as advance:
        result = em.em_iteration(
            state,
            prepared.train,
            history,
            runtime,
            iteration,
            progress=(iteration - 1) / max(config.run.iterations - 1, 1),
            on_rollout=advance,
        )
    row = {
        "rollouts": iteration * per_iteration,
        **iteration_files.explore_metrics(result),
        **result.train_metrics,
        **result.seconds,
    }
    if iteration % config.evaluation.every == 0 or iteration == config.run.iterations:
        evaluating = time.perf_counter()
        row |= _curve_row(result.state, prepared, runtime, folder, display)
        row["time/evaluate"] = time.perf_counter() - evaluating
    iteration_files.write(result, runtime, folder, iteration)
    return result.state, result.history, {**row, "time/total": time.perf_counter() - started}


def _curve_row(
    state: TrainState, prepared: Prepared, runtime: Runtime, folder: RunFolder, display: Display
) -> dict[str, Any]:
    reference = measure.read_reference(folder.evaluation("start"), prepared.validation)
    with display.task("evaluate", len(prepared.curve)) as advance:
        return measure.curve_point(
            state.params, runtime, prepared.curve, reference, on_done=advance
        )


def _finish(
    state: TrainState, prepared: Prepared, runtime: Runtime, folder: RunFolder, display: Display
) -> None:
    """The final evaluation, unless it stands already (a resumed run) or is not wanted."""
    config, where = prepared.config, folder.evaluation("final")
    if not config.evaluation.final or (where / "results.json").is_file():
        return
    # Only a warm-up's final evaluation is the start of other runs, which judge by its strata.
    validation = prepared.validation if config.method == "sft" else []
    size = measure.full_size(prepared.test, validation)
    with display.task("evaluate the end", size) as advance:
        measure.full(state.params, runtime, prepared.test, validation, where, on_done=advance)


def _save(
    folder: RunFolder, iteration: int, state: TrainState, history: History, config: RunConfig
) -> None:
    metadata = {"iteration": iteration, "seed": config.seed, "history": history.to_json()}
    store.save(folder.checkpoints, iteration, state, metadata, keep=config.run.keep_checkpoints)


def _compile_metrics(counter: compilation.CompileCounter) -> dict[str, int | float]:
    taken = counter.take()
    return {"compile/count": taken.programs, "compile/seconds": taken.seconds}


def _one_line(iteration: int, last: int, row: dict[str, Any]) -> str:
    parts = [f"iteration {iteration} of {last}", f"reward {row['explore/reward']:.3f}"]
    parts.append(f"code rate {row['explore/code_rate']:.2f}")
    if row.get("eval/accuracy") is not None:
        parts.append(f"accuracy {row['eval/accuracy']:.3f}")
    if row.get("eval/selection_accuracy") is not None:
        parts.append(f"selection {row['eval/selection_accuracy']:.3f}")
    return ", ".join([*parts, f"{row['time/total']:.1f} s"])
