"""What stands on the page, section by section: which plots, over what, and how to read them."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from acim_jax.evaluation import over_seeds
from acim_jax.report import figures
from acim_jax.report.episodes import MIN_NATIVE, RunEpisodes
from acim_jax.report.figures import Figure
from acim_jax.report.runs import WHENS, Experiment, Run
from acim_jax.run import metric_names
from acim_jax.run.metric_names import DomainMetric, Metric

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
    "domains": (
        "Domains", "Each domain of the mix",
        "The problems of a batch are mixed from domains by a ratio (explore.mix). Mean reward and "
        "code rate are of an iteration's rollouts, the accuracy of the learning curve's problems.",
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
    "terms": (
        "Terms", "What each term of the M-step pulls",
        "Norm of the gradient of the policy term, the decision cross-entropy and the replay of "
        "demonstrations, each with its weight: mean over the optimiser steps in which it was "
        "measured. An iteration in which a term had nothing to learn from has no point.",
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
#: Of runs with evaluation.curve_samples.
_SAMPLED = {
    Metric.SAMPLED_ACCURACY: "Accuracy, sampled",
    Metric.SAMPLED_CODE_RATE: "Code rate, sampled",
}
_POLICY = {
    Metric.POLICY_CODE_ON_CODE: "π(code | x) on problems where code is better",
    Metric.POLICY_CODE_ON_TEXT: "π(code | x) on problems where text is better",
}
_DOMAINS = {
    DomainMetric.REWARD: "Mean reward of training rollouts",
    DomainMetric.CODE_RATE: "Code rate of training rollouts",
    DomainMetric.ACCURACY: "Accuracy",
}
_TERMS = {
    Metric.GRAD_NORM_POLICY: "Policy term",
    Metric.GRAD_NORM_DECISION: "Decision cross-entropy",
    Metric.GRAD_NORM_REPLAY: "Replay of demonstrations",
}
#: Sections whose panels show curves over seeds.
_CURVES = ("accuracy", "policy", "domains", "terms")
_REFERENCES = {"text": "always text", "code": "always code", "oracle": "oracle"}
_STAGES = (Metric.TIME_EXECUTE, Metric.TIME_IMPROVE, Metric.TIME_EVALUATE, Metric.TIME_SAVE)

T = TypeVar("T")
Series = dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot. Without data the figure is empty, and the page says what is `missing`."""

    title: str
    figure: Figure
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
    lines = [line for _, _, runs in arms for run in runs for line in run.metrics]
    sampled = _SAMPLED if any(Metric.SAMPLED_ACCURACY in line for line in lines) else {}
    views: dict[str, Mapping[str, Sequence[Panel]]] = {
        "accuracy": {"": _curves(arms, _ACCURACY | sampled, references)},
        "policy": {"": _curves(arms, _POLICY, {})},
        "domains": _domains(arms),
        "code-rates": {"": [panel for arm in arms for panel in _code_rates(arm, episodes)]},
        "values": {arm[0]: [_strata(arm)] for arm in arms},
        "calibration": {"": [_calibration(arm) for arm in arms]},
        "terms": {"": _curves(arms, _TERMS, {}, shares=False)},
        "counts": {label: _counts(runs) for label, _, runs in arms},
        "time": {label: _time(runs) for label, _, runs in arms},
    }
    seeds = _SEEDS if any(len(runs) > 1 for _, _, runs in arms) else _ONE_SEED
    more = dict.fromkeys(_CURVES, seeds) | {"calibration": _shrinkage(experiment)}
    return [
        Section(slug, nav, title, text + more.get(slug, ""), views[slug])
        for slug, (nav, title, text) in _TEXTS.items()
        if views[slug]
    ]


def _shrinkage(experiment: Experiment) -> str:
    """What `explore.value_pseudo_counts` does, where a run has it."""
    counts = {run.value_pseudo_counts for run in experiment.runs} - {0.0}
    if not counts:
        return ""
    shown = " or ".join(f"{count:g}" for count in sorted(counts))
    return (
        f" s* was computed from Q̂ shrunk towards 1/2, as by {shown} more rollouts of reward 1/2 "
        "(explore.value_pseudo_counts), against the bias that few rollouts give it; Q̂ is shown as "
        "measured."
    )


Arm = tuple[str, str, Sequence[Run]]  # label, colour, runs


def _curves(
    arms: Sequence[Arm],
    wanted: Mapping[Metric, str],
    references: Mapping[str, float],
    *,
    shares: bool = True,
) -> list[Panel]:
    """A panel for each metrics key and its title; reference lines stand with the accuracy."""
    panels = []
    for key, title in wanted.items():
        lines = [
            (label, colour, curve)
            for label, colour, runs in arms
            if (curve := over_seeds.curve([run.metrics for run in runs], key, Metric.ROLLOUTS))
        ]
        lines_at = references if key == Metric.ACCURACY else {}
        borders = _borders([run for _, _, runs in arms for run in runs])
        shown = figures.curves(lines, lines_at, borders, shares=shares)
        missing = f"no run has {key} in its metrics.jsonl"
        panels.append(Panel(title, shown, missing, height=350))
    return panels


def _borders(runs: Sequence[Run]) -> dict[float, str]:
    """Where stages begin, by the rollouts made before."""
    return {
        before[Metric.ROLLOUTS]: f"stage {now[Metric.STAGE]:.0f}"
        for run in runs
        for before, now in itertools.pairwise(run.metrics)
        if now.get(Metric.STAGE, 1) > before.get(Metric.STAGE, 1)
    }


def _domains(arms: Sequence[Arm]) -> Mapping[str, Sequence[Panel]]:
    """A view of each arm with a mix: a panel for each measure, a curve for each domain."""
    views: dict[str, Sequence[Panel]] = {}
    for label, _, runs in arms:
        keys = dict.fromkeys(key for run in runs for line in run.metrics for key in line)
        own = [key.removeprefix(metric_names.DOMAIN) for key in keys
               if key.startswith(metric_names.DOMAIN)]  # fmt: skip
        names = [name.rpartition("/")[0] for name in own if name.endswith(DomainMetric.REWARD)]
        panels: list[Panel] = []
        for measure, title in _DOMAINS.items():
            lines = [
                (name, figures.colour(position), curve)
                for position, name in enumerate(names)
                if (curve := over_seeds.curve(
                    [run.metrics for run in runs],
                    f"{metric_names.DOMAIN}{name}/{measure}",
                    Metric.ROLLOUTS,
                ))
            ]  # fmt: skip
            missing = f"no run has {measure} by domain"
            shown = figures.curves(lines, {}, _borders(runs))
            panels.append(Panel(title, shown, missing, height=350))
        if names:
            views[label] = panels
    return views


def _ends(
    tables: Sequence[Mapping[int, Sequence[T]]], shade: str
) -> list[tuple[str, str, list[T]]]:
    """Name, colour and content of the first and the last few iterations of all runs' tables: three
    iterations, fewer of a short run, never shared ones."""
    ordered = sorted({i for table in tables for i, found in table.items() if found})
    width = min(3, len(ordered) // 2)
    ends = []
    for wanted, colour in (
        (ordered[:width], figures.MUTED),
        (ordered[len(ordered) - max(width, 1) :], shade),
    ):
        if wanted:
            first, last = wanted[0], wanted[-1]
            name = f"iterations {first}\u2013{last}" if last > first else f"iteration {first}"
            pooled = [one for table in tables for i in wanted for one in table.get(i, ())]
            ends.append((name, colour, pooled))
    return ends


def _code_rates(arm: Arm, episodes: Mapping[Path, RunEpisodes]) -> list[Panel]:
    label, colour, runs = arm
    of_queries = _ends([episodes[run.folder].native_rates for run in runs], colour)
    of_problems = [
        (when, shade, [p.policy_code for run in runs for p in run.problems[when]])
        for when, shade in zip(WHENS, (figures.MUTED, colour), strict=True)
    ]
    return [
        Panel(
            f"{label}: share of code among native training rollouts, per query",
            figures.histogram(of_queries, "code rate"),
            f"no query has {MIN_NATIVE} native rollouts",
        ),
        Panel(
            f"{label}: π(code | x) of the evaluation problems",
            figures.histogram(of_problems, "π(code | x)"),
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
    return Panel("", figures.heat_maps(rows), "no strata.json under evaluation/", height)


def _calibration(arm: Arm) -> Panel:
    label, colour, runs = arm
    shown = figures.calibration(_ends([run.gaps for run in runs], colour))
    missing = "no values/ with both decisions tried (a run without guides has none)"
    return Panel(label, shown, missing)


def _counts(runs: Sequence[Run]) -> list[Panel]:
    """Rollouts by what became of them, programs by status, rollouts by stop reason."""
    panels = []
    for prefix, title, unit in (
        ("curate/", "Kept for training, or dropped, by reason", "rollouts"),
        (metric_names.EXECUTIONS_BY_STATUS, "Programs by how they ended", "programs"),
        (metric_names.ROLLOUTS_BY_STOP, "Why rollouts ended", "rollouts"),
    ):
        iterations, series = over_seeds.by_iteration([r.metrics for r in runs], prefix, mean=False)
        series = {name: values for name, values in series.items() if any(values)}
        panels.append(Panel(title, figures.bars(iterations, series, unit), "none recorded"))
    return panels


def _time(runs: Sequence[Run]) -> list[Panel]:
    lines = [run.metrics for run in runs]
    iterations, seconds = over_seeds.by_iteration(lines, "time/", mean=True)
    stages = figures.bars(iterations, exclusive_stages(seconds), "seconds")
    iterations, counts = over_seeds.by_iteration(lines, Metric.COMPILE_COUNT, mean=True)
    executables = figures.bars(iterations, counts, "executables")
    return [
        Panel("Seconds per stage", stages, "no times recorded"),
        Panel("Executables compiled", executables, "no compilation recorded"),
    ]


def exclusive_stages(seconds: Series) -> Series:
    """Seconds that add up to the total: explore without its part, and what no stage claims."""
    if not seconds:
        return {}
    found = {name: np.array(values) for name, values in seconds.items()}
    nothing = np.zeros(len(next(iter(seconds.values()))))
    explore = found.get(Metric.TIME_EXPLORE, nothing) - found.get(Metric.TIME_EXECUTE, nothing)
    stages = {"explore (rest)": np.maximum(explore, 0.0)}
    stages |= {name: found[name] for name in _STAGES if name in found}
    claimed = sum(stages.values(), nothing)
    stages["other"] = np.maximum(found.get(Metric.TIME_TOTAL, claimed) - claimed, 0.0)
    return {name: values.tolist() for name, values in stages.items()}
