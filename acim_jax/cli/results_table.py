"""The result of an experiment as a table in the terminal."""

import json
from pathlib import Path
from typing import Any

import rich.table


def experiment(path: Path) -> rich.table.Table:
    """Arms against the starting checkpoint, from an experiment's results.json."""
    results = json.loads(path.read_text(encoding="utf-8"))
    start = results["start"]
    table = rich.table.Table(
        title=f"{start['n']} held-out problems, greedy; mean ± standard error over seeds"
    )
    for column in ("", "rollouts", "accuracy", "selection", "per stratum", "code rate"):
        table.add_column(column, justify="left" if not column else "right")
    names = {
        "text": "start, always text",
        "code": "start, always code",
        "native": "start, decides itself",
        "oracle": "start, oracle per stratum",
    }
    for key, name in names.items():
        table.add_row(name, "0", f"{start[key]['accuracy']:.3f}", "", "", "")
    table.add_section()
    for arm in results["arms"].values():
        table.add_row(
            arm["label"],
            str(arm["rollouts"]),
            _figure(arm["accuracy"]),
            _figure(arm["selection_accuracy"]),
            _figure(arm["stratum_selection_accuracy"]),
            _figure(arm["code_rate"]),
        )
    return table


def _figure(measure: dict[str, Any]) -> str:
    if measure["mean"] is None:
        return "–"
    spread = "" if measure["stderr"] is None else f" ± {measure['stderr']:.3f}"
    return f"{measure['mean']:.3f}{spread}"
