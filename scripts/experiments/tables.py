"""Where the arms of one experiment ended, as a Markdown table."""

from collections.abc import Mapping
from typing import Any

#: Measures of results.json, with their titles.
ENDS = {
    "accuracy": "accuracy",
    "selection_accuracy": "selection accuracy",
    "code_rate": "code rate",
    "executions_per_problem": "programs per problem",
}


def table(results: Mapping[str, Any]) -> str:
    """Markdown: mean ± standard error over seeds, and the starts."""
    arms: Mapping[str, Mapping[str, Any]] = results["arms"]
    seeds = sorted({len(arm["seeds"]) for arm in arms.values()})
    lines = [
        f"| arm ({', '.join(map(str, seeds))} seeds) | rollouts | {' | '.join(ENDS.values())} |",
        f"|---|---|{'---|' * len(ENDS)}",
    ]
    for name, start in results["starts"].items():
        native, oracle = start["native"]["accuracy"], start["oracle"]["accuracy"]
        lines.append(
            f"| {name}: {native:.3f}, its oracle {oracle:.3f}, π(code) {start['code_prior']:.3f} "
            f"| |{' |' * len(ENDS)}"
        )
    for arm in arms.values():
        cells = (_cell(arm[measure]) for measure in ENDS)
        lines.append(f"| {arm['label']} | {arm['rollouts']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(measure: Mapping[str, Any]) -> str:
    if measure["mean"] is None:
        return "–"
    error = "" if measure["stderr"] is None else f" ± {measure['stderr']:.3f}"
    return f"{measure['mean']:.3f}{error}"
