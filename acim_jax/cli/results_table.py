"""The result of an experiment as a table in the terminal."""

from pathlib import Path

import rich.table

from acim_jax.evaluation import over_seeds

_MEASURES = ("accuracy", "selection_accuracy", "stratum_selection_accuracy", "code_rate")


def experiment(path: Path) -> rich.table.Table:
    """Arms against the starting checkpoint, from an experiment's results.json."""
    results = over_seeds.read(path)
    table = rich.table.Table(
        title=f"{results.problems} test problems, greedy; mean ± standard error over seeds"
    )
    table.add_column("")
    for title in ("rollouts", "seeds", *(over_seeds.MEASURES[key] for key in _MEASURES)):
        table.add_column(title, justify="right")
    for line in over_seeds.table(results, _MEASURES):
        table.add_row(*line)
    return table
