"""The experiments of scripts/experiments: what they compare has equal rollouts and five seeds."""

from pathlib import Path

import pytest

from acim_jax.config import experiment
from acim_jax.run import experiment as planned
from scripts.experiments import tables

FILES = sorted((Path(__file__).parents[2] / "scripts" / "experiments").glob("?_*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_arms_have_equal_rollouts_and_can_be_planned(path: Path, tmp_path: Path) -> None:
    loaded = experiment.load(path)
    assert loaded.name == path.stem and len(loaded.seeds) == 5 and len(loaded.arms) > 1
    runs = [arm.runs[0] for arm in loaded.arms.values()]
    rollouts = {
        run.run.iterations * run.explore.problems * run.explore.rollouts_per_problem for run in runs
    }
    assert len(rollouts) == 1
    plan = planned.plan(loaded, tmp_path / "out")
    assert len([one for one in plan if one.arm]) == 5 * len(runs)


def test_the_table_of_ends() -> None:
    def measured(mean: float | None, stderr: float | None = None) -> dict[str, object]:
        return {"per_seed": [], "mean": mean, "stderr": stderr}

    arm = {
        "label": "EM",
        "rollouts": 1536,
        "seeds": [0, 1],
        "accuracy": measured(0.90125, 0.0031),
        "selection_accuracy": measured(0.5),
        "code_rate": measured(None),
        "executions_per_problem": measured(1.25, 0.25),
    }
    start = {"native": {"accuracy": 0.5}, "oracle": {"accuracy": 0.75}, "code_prior": 0.02}
    *_, begun, ended = tables.table({"arms": {"em": arm}, "starts": {"warmup": start}}).splitlines()
    assert begun == "| warmup: 0.500, its oracle 0.750, π(code) 0.020 | | | | | |"
    assert ended == "| EM | 1536 | 0.901 ± 0.003 | 0.500 | – | 1.250 ± 0.250 |"
