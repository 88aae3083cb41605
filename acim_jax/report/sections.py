"""What stands on the page, section by section: which plots, which legend, and a note for what is
missing. Section texts say what is plotted, and over what."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from acim_jax.report import estimates as numbers
from acim_jax.report import figures, heat, ledger
from acim_jax.report.data import WHENS, Experiment
from acim_jax.report.episodes import MIN_NATIVE, RunEpisodes
from acim_jax.report.page import Key, Panel, Section, arms


def build(experiment: Experiment, episodes: Mapping[Path, RunEpisodes]) -> list[Section]:
    """All sections with plots, in the order of the page. `episodes`: by run folder."""
    return [
        _accuracy(experiment),
        _decisions(experiment),
        _code_rates(experiment, episodes),
        _strata(experiment),
        _calibration(experiment),
        ledger.counts(experiment),
        ledger.time(experiment),
    ]


def _curve_panels(
    experiment: Experiment,
    wanted: Mapping[str, str],
    references: Mapping[str, Mapping[str, float]],
) -> tuple[list[Panel], list[str]]:
    """A panel for each (metrics key → title) with data, and notes for those without."""
    panels, notes = [], []
    for key, title in wanted.items():
        lines = [
            (label, colour, curve)
            for label, colour, runs in arms(experiment)
            if (curve := numbers.curve(runs, key))
        ]
        if lines:
            panels.append(Panel(title, figures.curves(lines, references.get(key, {}))))
        else:
            notes.append(f"{title}: no run has {key} in its metrics.jsonl.")
    return panels, notes


def _arm_keys(experiment: Experiment) -> list[Key]:
    return [Key(label, colour, "line") for label, colour, _ in arms(experiment)]


def _spread_text(experiment: Experiment, measures: Iterable[str]) -> tuple[str, list[Key]]:
    """How the bands of these measures are to be read, and their legend."""
    if any(len(runs) > 1 for runs in experiment.arms().values()):
        keys = [Key("one seed", "var(--muted)", "thin"), Key("lowest to highest seed", "", "band")]
        text = (
            "Thick lines are means over seeds, thin lines single seeds; bands reach from the "
            "lowest to the highest seed. The mean is drawn where every seed has a value."
        )
        return text, keys
    curves = (numbers.curve(experiment.runs[:1], measure) for measure in measures)
    if any(curve and curve.low for curve in curves):
        return "One seed: the band is ± one standard error of the evaluation.", [
            Key("± one standard error", "", "band")
        ]
    return "One seed.", []


def _accuracy(experiment: Experiment) -> Section:
    references = numbers.reference_lines(experiment.runs)
    wanted = {
        "eval/accuracy": "Accuracy",
        "eval/selection_accuracy": "Selection accuracy",
        "eval/code_rate": "Code rate",
    }
    panels, notes = _curve_panels(experiment, wanted, {"eval/accuracy": references})
    spread, keys = _spread_text(experiment, wanted)
    keys = _arm_keys(experiment) + (keys if panels else [])
    for name, value in references.items():
        label = f"{figures.REFERENCE_LABELS[name]} {value:.3f}"
        keys.append(Key(label, f"var(--reference-{name})", figures.REFERENCE_DASHES[name]))
    if panels and not references:
        notes.append("Lines for always text, always code and the oracle selector: not recorded.")
    text = (
        "Native decoding on the evaluation problems: the model decides itself. Dashed lines are "
        "the starting checkpoint when every answer is forced to text or to code, and when the "
        f"better decision of each family and level is known (oracle selector). {spread}"
    )
    return Section("accuracy", "Accuracy", "Accuracy and decisions over rollouts", text,
                   {"": panels}, keys, notes)  # fmt: skip


def _decisions(experiment: Experiment) -> Section:
    wanted = {
        "eval/policy_code_on_code_favoured": "π(code | x) on problems where code is better",
        "eval/policy_code_on_text_favoured": "π(code | x) on problems where text is better",
    }
    panels, notes = _curve_panels(experiment, wanted, {})
    spread, keys = _spread_text(experiment, wanted)
    text = (
        "The probability that the policy itself begins with code, averaged over problems by which "
        "decision is better there. A policy that has learned when to use code parts the two. "
        f"{spread}"
    )
    return Section("policy", "π(code)", "Does the policy know when to use code?", text,
                   {"": panels}, _arm_keys(experiment) + keys, notes)  # fmt: skip


def _ends(iterations: Sequence[int]) -> tuple[list[int], list[int]]:
    """The first and the last few iterations: three, fewer of a short run, never shared ones."""
    ordered = sorted(set(iterations))
    width = min(3, len(ordered) // 2)
    return ordered[:width], ordered[len(ordered) - max(width, 1) :]


def _code_rates(experiment: Experiment, episodes: Mapping[Path, RunEpisodes]) -> Section:
    panels, notes = [], []
    for label, colour, runs in arms(experiment):
        rates = [episodes[run.folder].native_rates for run in runs]
        first, last = _ends([i for run_rates in rates for i, shares in run_rates.items() if shares])
        series = []
        for wanted, shade in ((first, "var(--muted)"), (last, colour)):
            pooled = [r for run_rates in rates for i in wanted for r in run_rates.get(i, ())]
            if pooled:
                name = f"{_iterations_name(wanted)} (n={len(pooled)})"
                series.append((name, shade, numbers.histogram(pooled)))
        title = f"{label}: share of code among native training rollouts, per query"
        if series:
            panels.append(Panel(title, _with_legend(figures.rate_histogram(series, "code rate"))))
        else:
            notes.append(f"{title}: no query has {MIN_NATIVE} native rollouts.")
        series = []
        for when, shade in zip(WHENS, ("var(--muted)", colour), strict=True):
            pooled = [
                p for r in runs if when in r.evaluations for p in r.evaluations[when].policy_code
            ]
            if pooled:
                series.append((f"{when} (n={len(pooled)})", shade, numbers.histogram(pooled)))
        title = f"{label}: π(code | x) of the evaluation problems"
        if series:
            panels.append(Panel(title, _with_legend(figures.rate_histogram(series, "π(code | x)"))))
        else:
            notes.append(f"{title}: no problems.jsonl under evaluation/.")
    text = (
        "A policy that never tries a decision cannot learn what it is worth. For each arm: how "
        "often a training query was answered with code when the model was free to choose, and the "
        "probability of code on each evaluation problem. All mass in the first bin is "
        "under-exploration; mass at both ends is a policy that decides by the problem."
    )
    return Section("code-rates", "Code rates", "Per-query code rates", text,
                   {"": panels}, (), notes)  # fmt: skip


def _iterations_name(iterations: Sequence[int]) -> str:
    if len(iterations) == 1:
        return f"iteration {iterations[0]}"
    return f"iterations {iterations[0]}\u2013{iterations[-1]}"


def _with_legend(figure: go.Figure) -> go.Figure:
    return figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin=figures.MARGIN | {"t": 34},
    )


def _strata(experiment: Experiment) -> Section:
    views, notes = {}, []
    for label, _, runs in arms(experiment):
        names = {"start": "before", "final": "after"}
        tables = [
            (names[when], strata) for when in WHENS if (strata := numbers.mean_strata(runs, when))
        ]
        if tables:
            figure, height = heat.heat_maps(tables)
            views[label] = [Panel("", figure, height, wide=True)]
        else:
            notes.append(f"{label}: no strata.json under evaluation/.")
    text = (
        "Q̂ is the accuracy when the decision is forced, π(code | x) what the policy would choose "
        "itself; each stratum is a family of problems at one level, averaged over seeds. Hover for "
        "the number of problems."
    )
    return Section("values", "Values", "What each decision is worth, before and after", text,
                   views, (), notes)  # fmt: skip


def _calibration(experiment: Experiment) -> Section:
    panels, notes = [], []
    for label, colour, runs in arms(experiment):
        first, last = _ends([row.iteration for run in runs for row in run.values])
        parts = [
            (_iterations_name(wanted), shade, bins)
            for wanted, shade in ((first, "var(--muted)"), (last, colour))
            if wanted and (bins := numbers.calibration(runs, wanted))
        ]
        if parts:
            panels.append(Panel(label, _with_legend(figures.calibration(parts))))
        else:
            notes.append(
                f"{label}: no values/ with both decisions tried (a run without guides has none)."
            )
    text = (
        "Does the probability of code follow its advantage? Training problems, binned by "
        "Q̂(code) − Q̂(text) of their guided rollouts; bars are ± one standard error of the mean "
        "over problems, n is the number of problems in a bin. Q̂ rests on few rollouts, so the bins "
        "near zero mix problems of both kinds."
    )
    return Section("calibration", "Calibration", "π(code | x) against the values", text,
                   {"": panels}, (), notes)  # fmt: skip
