"""The result in words and in one table: what stands above the plots."""

import dataclasses
from collections.abc import Mapping, Sequence

from acim_jax.report import estimates as numbers
from acim_jax.report.data import Experiment
from acim_jax.report.readers import mapping, number

MISSING = "\u2013"
_NAMES = {
    "accuracy": "accuracy",
    "selection_accuracy": "selection accuracy",
    "stratum_selection_accuracy": "selection accuracy per stratum",
    "code_rate": "code rate",
    "executions_per_problem": "programs per problem",
}
_START_NAMES = {
    "native": "start, decides itself",
    "text": "start, always text",
    "code": "start, always code",
    "oracle": "start, oracle selector",
}


@dataclasses.dataclass(frozen=True)
class Tile:
    """A key figure: `detail` stands small below it."""

    title: str
    value: str
    detail: str
    colour: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of (head, figures); `note` says where the figures come from."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    note: str


def headline(results: Sequence[numbers.ArmResult], start: Mapping[str, float]) -> str:
    """The result in a sentence or two, computed from the data."""
    scored = [result for result in results if "accuracy" in result.measures]
    if not scored:
        return "No run has been evaluated yet."
    counts = {count for result in scored for count in result.rollouts}
    equal = len(counts) == 1
    parts = []
    for result in scored:
        after = "" if equal or not result.rollouts else f" after {_rollouts(result)} rollouts"
        parts.append(f"{result.label} scores {_with_range(result.measures['accuracy'])}{after}")
    lead = ""
    if equal:
        lead = f"At {next(iter(counts)):,} rollouts{' each' if len(scored) > 1 else ''}, "
    known = []
    if "native" in start:
        known.append(f"the starting checkpoint scores {start['native']:.3f}")
    if "oracle" in start:
        known.append(f"its oracle selector {start['oracle']:.3f}")
    tail = f"; {', '.join(known)}" if known else ""
    return f"{lead}{' and '.join(parts)} in native accuracy{tail}."


def tiles(
    results: Sequence[numbers.ArmResult], start: Mapping[str, float], colours: Mapping[str, str]
) -> list[Tile]:
    """Key figures: accuracy and selection of each arm, then the start's."""
    shown = []
    for result in results:
        for measure in ("accuracy", "selection_accuracy"):
            spread = result.measures.get(measure)
            if spread:
                title = f"{result.label}: {_NAMES[measure]}"
                value = f"{spread.mean:.3f}"
                shown.append(Tile(title, value, _range(spread), colours.get(result.arm, "")))
    if "oracle" in start:
        shown.append(Tile("Oracle selector", f"{start['oracle']:.3f}", "of the start, per stratum"))
    if "native" in start:
        forced = [f"always {n} {start[n]:.3f}" for n in ("text", "code") if n in start]
        shown.append(Tile("At the start", f"{start['native']:.3f}", ", ".join(forced)))
    return shown


def table(experiment: Experiment, results: Sequence[numbers.ArmResult]) -> Table | None:
    """Every measure of every arm as mean ± standard error over seeds, and the start's accuracy."""
    used = [m for m in numbers.MEASURES if any(m in result.measures for result in results)]
    if not used:
        return None
    start = numbers.start_accuracy(experiment)
    rows = []
    for name, title in _START_NAMES.items():
        if name in start:
            accuracy = [f"{start[name]:.3f}"]
            rows.append((title, [MISSING, MISSING, *accuracy, *[MISSING] * (len(used) - 1)]))
    for result in results:
        seeds = max((len(spread.per_seed) for spread in result.measures.values()), default=0)
        figures = [_with_stderr(result.measures.get(measure)) for measure in used]
        rows.append((result.label, [_rollouts(result), str(seeds), *figures]))
    sources = sorted({result.source for result in results if result.measures})
    problems = sorted({result.problems for result in results if result.problems})
    several = any(len(s.per_seed) > 1 for result in results for s in result.measures.values())
    kind = "mean ± standard error over seeds" if several else "one seed"
    note = f"Arms: {kind}, from {' and '.join(sources)}"
    if problems:
        note += f"; {' or '.join(f'{n:,}' for n in problems)} evaluation problems per seed"
    prior = number(mapping(experiment.results.get("start")).get("code_prior"))
    if prior is not None:
        note += f"; code prior of the start {prior:.3f}"
    columns = ["", "rollouts", "seeds", *(_NAMES[measure] for measure in used)]
    return Table(columns, rows, note + ".")


def facts(experiment: Experiment) -> str:
    """Hardware and time of the experiment, '' where not recorded."""
    parts = []
    hardware = experiment.results.get("hardware")
    if hardware:
        entries = mapping(hardware)
        parts.append(
            ", ".join(f"{k}: {v}" for k, v in entries.items()) if entries else str(hardware)
        )
    seconds = number(experiment.results.get("seconds"))
    if seconds is not None:
        parts.append(f"{seconds / 60:.1f} minutes in all")
    return "; ".join(parts)


def _rollouts(result: numbers.ArmResult) -> str:
    counts = sorted(set(result.rollouts))
    return " / ".join(f"{count:,}" for count in counts) if counts else MISSING


def _with_range(spread: numbers.Spread) -> str:
    if len(spread.per_seed) == 1:
        return f"{spread.mean:.3f}"
    return f"{spread.mean:.3f} ({_range(spread)})"


def _range(spread: numbers.Spread) -> str:
    n = len(spread.per_seed)
    if n == 1:
        return "one seed"
    return f"{min(spread.per_seed):.3f}\u2013{max(spread.per_seed):.3f} over {n} seeds"


def _with_stderr(spread: numbers.Spread | None) -> str:
    if spread is None:
        return MISSING
    return f"{spread.mean:.3f}" + ("" if spread.stderr is None else f" ± {spread.stderr:.3f}")
