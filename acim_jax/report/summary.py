"""The result in words and in one table: what stands above the plots."""

import dataclasses
from collections.abc import Mapping, Sequence

from acim_jax.evaluation import over_seeds
from acim_jax.evaluation.over_seeds import MEASURES, Arm, Results
from acim_jax.report.runs import Experiment, Run
from acim_jax.run.metric_names import Metric


@dataclasses.dataclass(frozen=True)
class Summary:
    """table: lines of a name and its figures. note: where they come from, and on what hardware."""

    headline: str
    columns: Sequence[str]
    table: Sequence[Sequence[str]]
    note: str


def summarise(experiment: Experiment) -> Summary:
    """What the runs reached: from the experiment's results.json, else from the runs themselves."""
    results, source = _results(experiment)
    used = [m for m in MEASURES if any(m in arm.measures for arm in results.arms.values())]
    columns = ["", "rollouts", "seeds", *(MEASURES[measure] for measure in used)]
    table = over_seeds.table(results, used) if used else []
    runs = [run for of_arm in experiment.arms.values() for run in of_arm]
    note = _note(results, source, over_seeds.differing([run.folder for run in runs]))
    return Summary(_headline(results), columns, table, note)


def _results(experiment: Experiment) -> tuple[Results, str]:
    """The results and the file they are from. Rollouts are those that the runs count."""
    stated = experiment.results
    arms, sources, counts = {}, set(), set()
    for name, runs in experiment.arms.items():
        if stated and name in stated.arms:
            measures, problems, source = stated.arms[name].measures, stated.problems, "results.json"
        else:
            per_seed, source = _finals(runs)
            measures = over_seeds.spreads(per_seed)
            problems = per_seed[0].get("n")
        sources.add(source)
        counts.add(problems)
        rollouts = tuple(run.rollouts for run in runs if run.rollouts is not None)
        known = {measure: spread for measure, spread in measures.items() if spread.known}
        arms[name] = Arm(experiment.label(name), rollouts, known)
    start = experiment.start | dict(stated.start if stated else {})
    problems = next((int(count) for count in counts if count), None)
    facts = stated.facts if stated else ()
    return Results(start, arms, problems, facts), " and ".join(sorted(sources))


def _finals(runs: Sequence[Run]) -> tuple[Sequence[Mapping[str, float | None]], str]:
    """Measures of the runs' final evaluations, else of their last points, and the file's name."""
    folders = [run.folder / "evaluation" / "final" for run in runs]
    if all((folder / "results.json").is_file() for folder in folders):
        finals = [over_seeds.final_measures(folder, {}) for folder in folders]
        return finals, "evaluation/final/results.json"
    points = [[line for line in run.metrics if Metric.ACCURACY in line][-1:] for run in runs]
    last = [line for lines in points for line in lines] or [{}]
    return [
        {key.removeprefix("eval/"): line[key] for key in line} for line in last
    ], "the last evaluated line of metrics.jsonl"


def _headline(results: Results) -> str:
    """The result in a sentence, computed from the data."""
    scored = [arm for arm in results.arms.values() if "accuracy" in arm.measures]
    if not scored:
        return "No run has been evaluated yet."
    counts = {count for arm in scored for count in arm.rollouts}
    parts = [_scores(arm, "" if len(counts) == 1 else " after") for arm in scored]
    each = " each" if len(scored) > 1 else ""
    lead = f"At {counts.pop():,} rollouts{each}, " if len(counts) == 1 else ""
    names = {"native": "the starting checkpoint scores", "oracle": "its oracle"}
    known = [f"{text} {results.start[k]:.3f}" for k, text in names.items() if k in results.start]
    tail = f"; {', '.join(known)}" if known else ""
    return f"{lead}{' and '.join(parts)} in native accuracy{tail}."


def _scores(arm: Arm, after: str) -> str:
    known = arm.measures["accuracy"].known
    n = len(known)
    spread = f" ({min(known):.3f}\u2013{max(known):.3f} over {n} seeds)" if n > 1 else ""
    rollouts = f"{after} {arm.shown_rollouts} rollouts" if after and arm.rollouts else ""
    return f"{arm.label} scores {sum(known) / n:.3f}{spread}{rollouts}"


def _note(results: Results, source: str, differing: Sequence[str]) -> str:
    several = any(len(s.known) > 1 for arm in results.arms.values() for s in arm.measures.values())
    kind = "mean ± standard error over seeds" if several else "one seed"
    problems = [f"{results.problems:,} evaluation problems per seed"] if results.problems else []
    apart = [f"final evaluations not made alike: {', '.join(differing)}"] if differing else []
    return "; ".join([f"Arms: {kind}, from {source}", *problems, *results.facts, *apart]) + "."
