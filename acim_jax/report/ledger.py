"""The sections that count: drops, executions, stops, seconds, compilations, per iteration."""

from acim_jax.report import estimates as numbers
from acim_jax.report import figures
from acim_jax.report.data import Experiment
from acim_jax.report.page import Panel, Section, arms

#: Stages in the order of an iteration; the first ones are parts of `time/explore`.
_WITHIN_EXPLORE = ("execute", "values")
_AFTER_EXPLORE = ("improve", "evaluate", "save")

Series = dict[str, list[float]]


def exclusive_stages(seconds: Series) -> Series:
    """Seconds that add up to the total: explore without its parts, and what no stage claims."""
    length = len(next(iter(seconds.values()), []))
    zeros = [0.0] * length
    parts = [seconds.get(name, zeros) for name in _WITHIN_EXPLORE]
    explore = zip(seconds.get("explore", zeros), *parts, strict=True)
    stages = {"explore (rest)": [max(whole - sum(inner), 0.0) for whole, *inner in explore]}
    known = (*_WITHIN_EXPLORE, *_AFTER_EXPLORE)
    stages |= {name: seconds[name] for name in known if name in seconds}
    claimed = [sum(values) for values in zip(*stages.values(), strict=True)]
    total = seconds.get("total", claimed)
    return stages | {"other": [max(t - c, 0.0) for t, c in zip(total, claimed, strict=True)]}


def _rollouts_by_fate(curate: Series) -> Series:
    """Kept rollouts, and dropped ones by reason."""
    dropped = {
        name.removeprefix("dropped/"): values
        for name, values in curate.items()
        if name.startswith("dropped/")
    }
    return ({"kept": curate["kept"]} if "kept" in curate else {}) | dropped


def _unchanged(series: Series) -> Series:
    return series


def counts(experiment: Experiment) -> Section:
    """Drops by reason, programs by status, rollouts by stop reason."""
    wanted = (
        ("curate/", "Kept for training, or dropped, by reason", "rollouts", _rollouts_by_fate),
        ("explore/executions/", "Programs by how they ended", "programs", _unchanged),
        ("explore/stop/", "Why rollouts ended", "rollouts", _unchanged),
    )
    views, notes = {}, []
    for label, _, runs in arms(experiment):
        panels = []
        for prefix, title, y_title, chosen in wanted:
            iterations, series = numbers.by_iteration(runs, prefix, mean=False)
            shown = chosen(series)
            if any(map(any, shown.values())):
                panels.append(Panel(title, figures.stacked_bars(iterations, shown, y_title)))
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
        iterations, seconds = numbers.by_iteration(runs, "time/", mean=True)
        if seconds:
            bars = figures.stacked_bars(iterations, exclusive_stages(seconds), "seconds")
            panels.append(Panel("Seconds per stage", bars))
        else:
            notes.append(f"{label}: no times recorded.")
        iterations, compiled = numbers.by_iteration(runs, "compile/", mean=True)
        if "count" in compiled:
            bars = figures.counts(iterations, compiled["count"], "programs")
            panels.append(Panel("Programs compiled", bars))
        else:
            notes.append(f"{label}: no compilation recorded.")
        if panels:
            views[label] = panels
    text = (
        "Wall time of each stage and new programs compiled, per iteration, mean over seeds. "
        "“execute” is the wait for programs during exploration."
    )
    return Section("time", "Time", "Where the time goes", text, views, (), notes)
