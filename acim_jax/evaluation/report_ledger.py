"""The sections that count: drops, executions, stops, seconds, compilations, per iteration."""

from collections.abc import Sequence

from acim_jax.evaluation import report_figures as figures
from acim_jax.evaluation import report_numbers as numbers
from acim_jax.evaluation.report_data import Experiment, Run
from acim_jax.evaluation.report_page import Panel, Section, arms

STAGES = ("explore", "execute", "values", "improve", "evaluate", "save")


def _bars(
    runs: Sequence[Run], prefix: str, title: str, y_title: str, *, mean: bool
) -> Panel | None:
    iterations, series = numbers.by_iteration(runs, prefix, mean=mean)
    series = {name: values for name, values in series.items() if name != "total"}
    if prefix == "time/":
        series = dict(sorted(series.items(), key=lambda item: _stage_rank(item[0])))
    if not any(map(any, series.values())):
        return None
    return Panel(title, figures.stacked_bars(iterations, series, y_title))


def _stage_rank(stage: str) -> int:
    """Stages in the order in which an iteration runs them; others after them."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def counts(experiment: Experiment) -> Section:
    """Drops by reason, programs by status, rollouts by stop reason."""
    wanted = {
        "curate/dropped/": ("Dropped between exploration and training", "dropped"),
        "explore/executions/": ("Programs by how they ended", "programs"),
        "explore/stop/": ("Why rollouts ended", "rollouts"),
    }
    views, notes = {}, []
    for label, _, runs in arms(experiment):
        panels = []
        for prefix, (title, y_title) in wanted.items():
            panel = _bars(runs, prefix, title, y_title, mean=False)
            if panel:
                panels.append(panel)
            else:
                notes.append(f"{label}: {title.lower()}: none recorded.")
        if panels:
            views[label] = panels
    text = (
        "What became of every rollout and every program, per iteration, summed over the seeds of "
        "an arm. “infra” is a failure of the executor, never of a program."
    )
    return Section("counts", "Counts", "Drops, executions, stops", text, views, (), notes)


def time(experiment: Experiment) -> Section:
    """Seconds per stage and programs compiled."""
    views, notes = {}, []
    for label, _, runs in arms(experiment):
        panels = []
        seconds = _bars(runs, "time/", "Seconds per stage", "seconds", mean=True)
        if seconds:
            panels.append(seconds)
        else:
            notes.append(f"{label}: no times recorded.")
        iterations, compiled = numbers.by_iteration(runs, "compile/", mean=True)
        if "count" in compiled:
            figure = figures.counts(iterations, compiled["count"], "programs")
            panels.append(Panel("Programs compiled", figure))
        else:
            notes.append(f"{label}: no compilation recorded.")
        if panels:
            views[label] = panels
    text = "Wall time of each stage and new programs compiled, per iteration, mean over seeds."
    return Section("time", "Time", "Where the time goes", text, views, (), notes)
