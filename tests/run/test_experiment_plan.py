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


def test_arms_with_another_warm_up_have_their_own(tmp_path: Path) -> None:
    path = tmp_path / "priors.yaml"
    path.write_text("""
seeds: [3, 4]
base:
  model: {path: tiny}
  data: {demonstrations: "generated:arithmetic", num_train: 8}
  warmup: {steps: 5, code_prior: 0.02}
  run: {iterations: 1}
arms:
  em: {method: em}
  rl: {method: rl, explore: {guided_rollouts: 0, native_rollouts: 8, keep: 0}}
  rl-half: {method: rl, warmup: {code_prior: 0.5}, explore: {guided_rollouts: 0, native_rollouts: 8, keep: 0}}
  rl-base: {method: rl, warmup: {steps: 0}, explore: {guided_rollouts: 0, native_rollouts: 8, keep: 0}}
""")  # noqa: E501
    planned = experiment.plan(config.load(path), tmp_path / "out")
    warmups, arms = planned[:3], planned[3:]
    assert [one.folder.name for one in warmups] == ["warmup", "warmup-rl-half", "warmup-rl-base"]
    made = [(one.config.warmup.code_prior, one.config.warmup.steps) for one in warmups]
    assert made == [(0.02, 5), (0.5, 5), (0.02, 0)]
    assert {(one.config.method, one.config.seed, one.arm) for one in warmups} == {("sft", 3, None)}
    assert len(arms) == 8
    for one in arms:
        name = {"em": "warmup", "rl": "warmup"}.get(one.arm or "", f"warmup-{one.arm}")
        assert one.start == tmp_path / "out" / name and one.config.model.path == str(one.start)
        assert one.config.warmup.steps == 0


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
