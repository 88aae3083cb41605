"""What the runs of an experiment have to share."""

from pathlib import Path

import pytest

from acim_jax.bad_input import BadInput
from acim_jax.config import experiment as config
from acim_jax.run import experiment

EXPERIMENT = """
seeds: [0]
base:
  model: {{path: tiny}}
  data: {{demonstrations: "generated:arithmetic", num_validation: {em}}}
  evaluation: {{final_problems: {final}}}
  run: {{iterations: 1}}
arms:
  em: {{method: em}}
  more: {{method: em, data: {{num_validation: 8, num_train: 16, where: [{{level: 1}}]}}}}
"""


def plan(folder: Path, **fields: object) -> list[experiment.PlannedRun]:
    path = folder / "pair.yaml"
    path.write_text(EXPERIMENT.format(**fields))
    return experiment.plan(config.load(path), folder / "out")


def test_the_warm_up_comes_first_and_is_where_the_arms_start(tmp_path: Path) -> None:
    warmup, *arms = plan(tmp_path, em=8, final=5)
    assert [one.folder.name for one in arms] == ["em-seed0", "more-seed0"]
    assert warmup.config.method == "sft" and warmup.arm is None
    assert {one.config.model.path for one in arms} == {str(warmup.folder)}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"em": 8, "final": 0}, "evaluation.final_problems is 0: an experiment compares"),
        ({"em": 9, "final": "null"}, "arms must share `data`"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(
    tmp_path: Path, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        plan(tmp_path, **fields)
