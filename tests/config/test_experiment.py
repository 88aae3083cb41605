"""Experiment files: arms over a base, seeds, round trip, and refusals."""

import dataclasses
from pathlib import Path

import pytest

from acim_jax.bad_input import BadInput
from acim_jax.config import experiment as config

EXPERIMENT = """
name: pair
seeds: [5, 7]
base:
  extends: base.yaml
  explore: {problems: 8}
arms:
  em: {label: EM}
  rl:
    method: rl
    explore: {guided_rollouts: 0, native_rollouts: 8}
"""


def experiment(tmp_path: Path, text: str = EXPERIMENT) -> Path:
    (tmp_path / "base.yaml").write_text("explore: {problems: 4, beta: 0.5}\n")
    (tmp_path / "pair.yaml").write_text(text)
    return tmp_path / "pair.yaml"


def test_arms_are_laid_over_the_base_for_every_seed(tmp_path: Path) -> None:
    read = config.load(experiment(tmp_path), overrides=[("run.iterations", "2")])
    assert (read.name, read.seeds, list(read.arms)) == ("pair", (5, 7), ["em", "rl"])
    assert (read.arms["em"].label, read.arms["rl"].label) == ("EM", "rl")
    rl = read.arms["rl"].runs[7]
    assert (rl.seed, rl.method, rl.run.iterations) == (7, "rl", 2)
    assert (rl.explore.problems, rl.explore.beta, rl.explore.native_rollouts) == (8, 0.5, 8)
    assert read.arms["em"].runs[5] == dataclasses.replace(read.arms["em"].runs[7], seed=5)
    assert read.arms["em"].runs[5].explore.guided_rollouts == 4


def test_seeds_can_be_fewer_or_more_than_the_file_names(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    assert config.load(path, seeds=1).seeds == (5,)
    assert config.load(path, seeds=4).seeds == (5, 7, 8, 9)
    with pytest.raises(BadInput, match="at least one seed, got 0"):
        config.load(path, seeds=0)
    with pytest.raises(BadInput, match=r"^--seed: arms.em.seed: the experiment's `seeds`"):
        config.load(path, overrides=[("seed", "3")])


def test_a_dumped_experiment_loads_to_an_equal_one(tmp_path: Path) -> None:
    read = config.load(experiment(tmp_path))
    (tmp_path / "sub").mkdir()
    copy = tmp_path / "sub" / "experiment.yaml"
    copy.write_text(config.dump(read))
    assert config.load(copy) == read


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("native_rollouts: 8", "nativ: 8", r"pair.yaml:11: arms.rl.explore.nativ: unknown field"),
        ("problems: 8", "problems: 0", r"pair.yaml:6: arms.em.explore.problems: must be at least"),
        ("label: EM", "label: 3", r"pair.yaml:8: arms.em.label: expected a string, got the numb"),
        ("method: rl", "seed: 1", r"pair.yaml:10: arms.rl.seed: the experiment's `seeds` sets it"),
        ("  em: {", "  EM/2: {", r"pair.yaml:8: arms.EM/2: an arm's name becomes a folder's"),
        ("seeds: [5, 7]", "seeds: [5, 5]", r"pair.yaml:3: seeds must be distinct"),
        ("seeds: [5, 7]", "seeds: two", r'pair.yaml:3: seeds: expected a list of whole numbers'),
        ("name: pair", "nam: pair", r'pair.yaml:2: nam: unknown field; did you mean "name"'),
        ("extends: base", "extends: bse", r"pair.yaml:5: extends: no such file: .*bse.yaml"),
        ("arms:", "legs:", r"pair.yaml:7: legs: unknown field"),
        (EXPERIMENT, "seed: 1", r"pair.yaml: this is a run's config, it has no `arms`: acim train"),
    ],
)  # fmt: skip
def test_experiment_refusals(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = experiment(tmp_path, EXPERIMENT.replace(old, new))
    with pytest.raises(BadInput, match=message):
        config.load(path)


def test_an_error_of_the_base_is_listed_once_and_with_those_of_the_arms(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("problems: 8", "problems: 0").replace("native_rollouts: 8", "alfa: 8")
    with pytest.raises(BadInput) as caught:
        config.load(experiment(tmp_path, text))
    assert [line.partition("pair.yaml:")[2] for line in str(caught.value).splitlines()] == [
        "6: arms.em.explore.problems: must be at least 1, got the number 0",
        '11: arms.rl.explore.alfa: unknown field; did you mean "alpha"?',
    ]
