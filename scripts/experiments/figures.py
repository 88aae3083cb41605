"""The table and the figure of one experiment: where its arms ended, and how they came there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from acim_jax.run import metrics
from scripts.experiments.tables import ENDS, table

#: Metrics of metrics.jsonl that are drawn over training.
CURVES = {
    "eval/accuracy": "accuracy, greedy (validation)",
    "eval/sampled_code_rate": "code rate, sampled (validation)",
}


def write(file: Path, folder: Path, out: Path) -> None:
    """OUT/NAME.md and OUT/NAME.svg of the finished experiment in `folder`."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{file.stem}.md").write_text(table(results), encoding="utf-8")
    figure = plt.figure(figsize=(11, 3.6 + 0.16 * len(results["arms"])), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    _ends(left, results["arms"])
    for axes, (metric, title) in zip((middle, right), CURVES.items(), strict=True):
        _curves(axes, metric, title, folder, results["arms"])
    figure.savefig(out / f"{file.stem}.svg", metadata={"Date": None})
    plt.close(figure)


def _ends(axes: Any, arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Every arm's last accuracy, selection accuracy and code rate, with two standard errors."""
    at = np.arange(len(arms))[::-1]
    for marker, measure in zip("osx", list(ENDS)[:3], strict=True):
        found = [arm[measure] for arm in arms.values()]
        means = [np.nan if one["mean"] is None else one["mean"] for one in found]
        errors = [2 * (one["stderr"] or 0.0) for one in found]
        axes.errorbar(means, at, xerr=errors, fmt=marker, capsize=2, label=ENDS[measure])
    axes.set_yticks(at, [arm["label"] for arm in arms.values()])
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small", loc="best")


def _curves(axes: Any, metric: str, title: str, folder: Path, arms: Mapping[str, Any]) -> None:
    """The mean over seeds by rollouts, with a band from the lowest to the highest."""
    for number, (name, arm) in enumerate(arms.items()):
        lines = [_curve(folder / f"{name}-seed{seed}", metric) for seed in arm["seeds"]]
        if not all(lines):
            continue
        x = [rollouts for rollouts, _ in lines[0]]
        y = np.array([[value for _, value in line] for line in lines])
        colour = plt.colormaps["tab10" if len(arms) <= 10 else "tab20"](number)
        axes.plot(x, y.mean(axis=0), color=colour, label=arm["label"])
        axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=colour, alpha=0.12, linewidth=0)
    axes.set_xlabel("rollouts")
    axes.set_title(title, fontsize="medium")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="best")


def _curve(folder: Path, metric: str) -> Sequence[tuple[float, float]]:
    lines = metrics.read(folder / "metrics.jsonl")
    known = [(line["rollouts"], line.get(metric)) for line in lines]
    return [(float(x), float(y)) for x, y in known if y is not None]
