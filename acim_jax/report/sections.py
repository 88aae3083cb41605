"""What stands on the page, section by section: which plots, over what, and how to read them."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from acim_jax.evaluation import over_seeds
from acim_jax.report import figures
from acim_jax.report.episodes import MIN_NATIVE, RunEpisodes
from acim_jax.report.figures import Figure
from acim_jax.report.runs import WHENS, Experiment, Run
from acim_jax.run import metric_names
from acim_jax.run.metric_names import Metric

#: Of each section: its name in the bar, its title, and how to read it.
_TEXTS = {
    "accuracy": (
        "Accuracy", "Accuracy and decisions over rollouts",
        "Native decoding on the evaluation problems: the model decides itself. Dashed lines are "
        "the starting checkpoint when every answer is forced to text or to code, and when the "
        "better decision of each family and level is known (oracle).",
    ),
    "policy": (
        "π(code)", "Does the policy know when to use code?",
        "The probability that the policy itself begins with code, averaged over problems by which "
        "decision is better there. A policy that has learned when to use code separates the two.",
    ),
    "code-rates": (
        "Code rates", "Code rates by query",
        "A policy that never tries a decision cannot learn what it is worth. For each arm: how "
        "often a training query was answered with code when the model was free to choose, and the "
        "probability of code on each evaluation problem. All mass in the first bin is "
        "under-exploration; mass at both ends is a policy that decides by the problem.",
    ),
    "values": (
        "Values", "What each decision is worth, before and after",
        "Q̂ is the accuracy when the decision is forced, π(code | x) what the policy would choose "
        "itself; families of problems by level, averaged over seeds. Hover for the number of "
        "problems.",
    ),
    "calibration": (
        "Calibration", "π(code | x) against the values",
        "Does the probability of code follow its advantage? Training problems, binned by "
        "Q̂(code) − Q̂(text) of their guided rollouts; bars are ± one standard error of the mean "
        "over problems, n is the number of problems in a bin. Q̂ rests on few rollouts, so the bins "
        "near zero mix problems of both kinds.",
    ),
    "counts": (
        "Counts", "Drops, executions, stops",
        "What became of every rollout and every program, per iteration, summed over the seeds of "
        "an arm. “infra” is a failure of the executor, never of a program.",
    ),
    "time": (
        "Time", "Where the time goes",
        "Wall time of each stage and new executables compiled, per iteration, mean over seeds. "
        "“execute” is the wait for programs during exploration.",
    ),
}  # fmt: skip
_SEEDS = (
    " Thick lines are means over seeds, thin lines single seeds; bands reach from the lowest to "
    "the highest seed. The mean is drawn where every seed has a value."
)
_ONE_SEED = " One seed: a band is ± one standard error of its evaluation."
_ACCURACY = {
    Metric.ACCURACY: "Accuracy",
    Metric.SELECTION_ACCURACY: "Selection accuracy",
    Metric.EVAL_CODE_RATE: "Code rate",
}
_POLICY = {
    Metric.POLICY_CODE_ON_CODE: "π(code | x) on problems where code is better",
    Metric.POLICY_CODE_ON_TEXT: "π(code | x) on problems where text is better",
}
_REFERENCES = {"text": "always text", "code": "always code", "oracle": "oracle"}
_STAGES = (Metric.TIME_EXECUTE, Metric.TIME_IMPROVE, Metric.TIME_EVALUATE, Metric.TIME_SAVE)

Series = dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot. Without data the figure is None, and the page says what is `missing`."""

    title: str
    figure: Figure | None
    missing: str
    height: int = 300


@dataclasses.dataclass(frozen=True)
class Section:
    """`views`: arm → panels; more than one gets a selector. '' holds for all arms."""

    slug: str
    nav: str
    title: str
    text: str
    views: Mapping[str, Sequence[Panel]]


def build(experiment: Experiment, episodes: Mapping[Path, RunEpisodes]) -> list[Section]:
    """All sections with plots, in the order of the page. `episodes`: by run folder."""
    arms = [
        (experiment.label(arm), figures.colour(position), runs)
        for position, (arm, runs) in enumerate(experiment.arms.items())
    ]
    start = experiment.start
    references = {title: start[name] for name, title in _REFERENCES.items() if name in start}
    views: dict[str, Mapping[str, Sequence[Panel]]] = {
        "accuracy": {"": _curves(arms, _ACCURACY, references)},
        "policy": {"": _curves(arms, _POLICY, {})},
        "code-rates": {"": [panel for arm in arms for panel in _code_rates(arm, episodes)]},
        "values": {arm[0]: [_strata(arm)] for arm in arms},
        "calibration": {"": [_calibration(arm) for arm in arms]},
        "counts": {label: _counts(runs) for label, _, runs in arms},
        "time": {label: _time(runs) for label, _, runs in arms},
    }
    seeds = _SEEDS if any(len(runs) > 1 for _, _, runs in arms) else _ONE_SEED
    return [
        Section(
            slug, nav, title, text + (seeds if slug in ("accuracy", "policy") else ""), views[slug]
        )
        for slug, (nav, title, text) in _TEXTS.items()
    ]


Arm = tuple[str, str, Sequence[Run]]  # label, colour, runs


def _curves(
    arms: Sequence[Arm], wanted: Mapping[Metric, str], references: Mapping[str, float]
) -> list[Panel]:
    """A panel for each metrics key and its title; reference lines stand with the accuracy."""
    panels = []
    for key, title in wanted.items():
        lines = [
            (label, colour, curve)
            for label, colour, runs in arms
            if (curve := over_seeds.curve([run.metrics for run in runs], key, Metric.ROLLOUTS))
        ]
        shown = figures.curves(lines, references if key == Metric.ACCURACY else {})
        missing = f"no run has {key} in its metrics.jsonl"
        panels.append(Panel(title, shown if lines else None, missing))
    return panels


def _ends(iterations: Iterable[int], colour: str) -> list[tuple[str, str, list[int]]]:
    """Name, colour and numbers of the first and the last few iterations: three, fewer of a short
    run, never shared ones."""
    ordered = sorted(set(iterations))
    width = min(3, len(ordered) // 2)
    ends = ((figures.MUTED, ordered[:width]), (colour, ordered[len(ordered) - max(width, 1) :]))
    return [(_name(wanted), shade, wanted) for shade, wanted in ends if wanted]


def _name(iterations: Sequence[int]) -> str:
    if len(iterations) == 1:
        return f"iteration {iterations[0]}"
    return f"iterations {iterations[0]}\u2013{iterations[-1]}"


def _code_rates(arm: Arm, episodes: Mapping[Path, RunEpisodes]) -> list[Panel]:
    label, colour, runs = arm
    native = [episodes[run.folder].native_rates for run in runs]
    ends = _ends([i for rates in native for i, found in rates.items() if found], colour)
    of_queries = [
        (name, shade, [rate for rates in native for i in wanted for rate in rates.get(i, ())])
        for name, shade, wanted in ends
    ]
    of_problems = [
        (when, shade, [p.policy_code for run in runs for p in run.problems[when]])
        for when, shade in zip(WHENS, (figures.MUTED, colour), strict=True)
    ]
    of_problems = [one for one in of_problems if one[2]]
    return [
        Panel(
            f"{label}: share of code among native training rollouts, per query",
            figures.histogram(of_queries, "code rate") if of_queries else None,
            f"no query has {MIN_NATIVE} native rollouts",
        ),
        Panel(
            f"{label}: π(code | x) of the evaluation problems",
            figures.histogram(of_problems, "π(code | x)") if of_problems else None,
            "no problems.jsonl under evaluation/",
        ),
    ]


def _strata(arm: Arm) -> Panel:
    rows = {}
    for when, title in zip(WHENS, ("before", "after"), strict=True):
        tables = [[stratum.model_dump() for stratum in run.strata[when]] for run in arm[2]]
        if any(tables):
            rows[title] = over_seeds.mean_strata(tables)
    families = {one["stratum"].rpartition("/")[0] for strata in rows.values() for one in strata}
    height = 70 + len(rows) * (30 + 26 * max(len(families), 2))
    shown = figures.heat_maps(rows) if rows else None
    return Panel("", shown, "no strata.json under evaluation/", height)


def _calibration(arm: Arm) -> Panel:
    label, colour, runs = arm
    pairs: dict[int, list[tuple[float, float]]] = {}
    for iteration, one in (
        (i, v) for run in runs for i, values in run.values.items() for v in values
    ):
        text, code = one.value
        if text is not None and code is not None:
            pairs.setdefault(iteration, []).append((code - text, one.policy[1]))
    parts = [
        (name, shade, [pair for i in wanted for pair in pairs[i]])
        for name, shade, wanted in _ends(pairs, colour)
    ]
    missing = "no values/ with both decisions tried (a run without guides has none)"
    return Panel(label, figures.calibration(parts) if parts else None, missing)


def _counts(runs: Sequence[Run]) -> list[Panel]:
    """Rollouts by what became of them, programs by status, rollouts by stop reason."""
    wanted = (
        ("curate/", "Kept for training, or dropped, by reason", "rollouts"),
        (metric_names.EXECUTIONS_BY_STATUS, "Programs by how they ended", "programs"),
        (metric_names.ROLLOUTS_BY_STOP, "Why rollouts ended", "rollouts"),
    )
    panels = []
    for prefix, title, unit in wanted:
        iterations, series = over_seeds.by_iteration([r.metrics for r in runs], prefix, mean=False)
        shown = figures.bars(iterations, series, unit) if any(map(any, series.values())) else None
        panels.append(Panel(title, shown, "none recorded"))
    return panels


def _time(runs: Sequence[Run]) -> list[Panel]:
    lines = [run.metrics for run in runs]
    iterations, seconds = over_seeds.by_iteration(lines, "time/", mean=True)
    stages = figures.bars(iterations, exclusive_stages(seconds), "seconds") if seconds else None
    iterations, counts = over_seeds.by_iteration(lines, Metric.COMPILE_COUNT, mean=True)
    executables = figures.bars(iterations, counts, "executables") if counts else None
    return [
        Panel("Seconds per stage", stages, "no times recorded"),
        Panel("Executables compiled", executables, "no compilation recorded"),
    ]


def exclusive_stages(seconds: Series) -> Series:
    """Seconds that add up to the total: explore without its part, and what no stage claims."""
    zeros = [0.0] * len(next(iter(seconds.values())))
    explore = zip(
        seconds.get(Metric.TIME_EXPLORE, zeros),
        seconds.get(Metric.TIME_EXECUTE, zeros),
        strict=True,
    )
    stages = {"explore (rest)": [max(whole - part, 0.0) for whole, part in explore]}
    stages |= {name: seconds[name] for name in _STAGES if name in seconds}
    claimed = [sum(values) for values in zip(*stages.values(), strict=True)]
    total = seconds.get(Metric.TIME_TOTAL, claimed)
    return stages | {"other": [max(t - c, 0.0) for t, c in zip(total, claimed, strict=True)]}
