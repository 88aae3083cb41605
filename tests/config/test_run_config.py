"""RunConfig and ExperimentConfig: precedence, round trip, and refusals at the border."""

import dataclasses
from pathlib import Path

import pytest

from acim_jax.config import run as config
from acim_jax.improve.config import ImproveConfig


def test_precedence_default_extended_file_option(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\nimprove: {lr: 1e-4, epochs: 2}\n")
    (tmp_path / "run.yaml").write_text("extends: base.yaml\nimprove: {epochs: 3, b1: 0.8}\n")
    read = config.load(tmp_path / "run.yaml", [("improve.b1", "0.7"), ("method", "rl")])
    assert read.improve == dataclasses.replace(ImproveConfig(), lr=1e-4, epochs=3, b1=0.7)
    assert (read.seed, read.method) == (1, "rl")
    assert read.run == config.RunSettings()


def test_what_is_dumped_loads_to_an_equal_config(tmp_path: Path) -> None:
    overrides = [("improve.lr", "1e-5"), ("run.name", "1e-5"), ("data.mapping", "{problem: 'on'}")]
    one = config.loads("seed: 4\nmodel: {dtype: bfloat16}\n", overrides=overrides)
    assert (one.improve.lr, one.run.name, one.data.mapping) == (1e-5, "1e-5", {"problem": "on"})
    path = tmp_path / "config.yaml"
    path.write_text(config.dump(one))
    assert config.load(path) == one
    assert config.load(path) != config.loads("seed: 4\n")


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert config.load(tmp_path / "empty.yaml") == config.RunConfig()


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            "explore:\n  alfa: 2\n",
            [],
            'c.yaml:2: explore.alfa: unknown field; did you mean "alpha"',
        ),
        ("improve: {lr: fast}\n", [], 'c.yaml:1: improve.lr: expected a number, got the string "f'),
        ("{}", [("improve.lr", "abc")], '--improve.lr: expected a number, got the string "abc"'),
        ("{}", [("improv.lr", "1")], '--improv.lr: improv: unknown field; did you mean "improve"?'),
        ("mothod: em\n", [], 'c.yaml:1: mothod: unknown field; did you mean "method"?'),
        (
            "method: grpo\n",
            [],
            'c.yaml:1: method: expected one of em, rl, sft, got the string "grp',
        ),
        ("seed: -1\n", [], "c.yaml:1: seed must not be negative, got -1."),
        ("run: {keep_checkpoints: 0}\n", [], "c.yaml:1: run: keep_checkpoints must be at least 1"),
    ],
)
def test_refusals(text: str, overrides: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(config.BadInput) as caught:
        config.loads(text, "c.yaml", overrides)
    assert str(caught.value).startswith(message)


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
    read = config.load_experiment(experiment(tmp_path), overrides=[("run.iterations", "2")])
    assert (read.name, read.seeds, list(read.arms)) == ("pair", (5, 7), ["em", "rl"])
    assert (read.arms["em"].label, read.arms["rl"].label) == ("EM", "rl")
    rl = read.arms["rl"].runs[7]
    assert (rl.seed, rl.method, rl.run.iterations) == (7, "rl", 2)
    assert (rl.explore.problems, rl.explore.beta, rl.explore.native_rollouts) == (8, 0.5, 8)
    assert read.arms["em"].runs[5] == dataclasses.replace(read.arms["em"].runs[7], seed=5)
    assert read.arms["em"].runs[5].explore.guided_rollouts == 4


def test_seeds_can_be_fewer_or_more_than_the_file_names(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    assert config.load_experiment(path, seeds=1).seeds == (5,)
    assert config.load_experiment(path, seeds=4).seeds == (5, 7, 8, 9)
    with pytest.raises(config.BadInput, match="at least one seed, got 0"):
        config.load_experiment(path, seeds=0)
    with pytest.raises(config.BadInput, match=r"^--seed: arms.em.seed: the experiment's `seeds`"):
        config.load_experiment(path, overrides=[("seed", "3")])


def test_a_dumped_experiment_loads_to_an_equal_one(tmp_path: Path) -> None:
    read = config.load_experiment(experiment(tmp_path))
    (tmp_path / "sub").mkdir()
    copy = tmp_path / "sub" / "experiment.yaml"
    copy.write_text(config.dump_experiment(read))
    assert config.load_experiment(copy) == read


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("native_rollouts: 8", "nativ: 8", r"pair.yaml:11: arms.rl.explore.nativ: unknown field"),
        ("problems: 8", "problems: 0", r"pair.yaml:6: arms.em.explore: problems must be at least"),
        ("label: EM", "label: 3", r"pair.yaml:8: arms.em.label: expected a string, got the numb"),
        ("method: rl", "seed: 1", r"pair.yaml:10: arms.rl.seed: the experiment's `seeds` sets it"),
        ("  em: {", "  EM/2: {", r"pair.yaml:8: arms.EM/2: an arm's name becomes a folder's"),
        ("seeds: [5, 7]", "seeds: [5, 5]", r"pair.yaml:2: seeds must be distinct"),
        ("seeds: [5, 7]", "seeds: two", r'pair.yaml:3: seeds: expected a list of whole numbers'),
        ("name: pair", "nam: pair", r'pair.yaml:2: nam: unknown field; did you mean "name"'),
        ("extends: base", "extends: bse", r"pair.yaml:5: extends: no such file: .*bse.yaml"),
        ("arms:", "legs:", r"pair.yaml:7: legs: unknown field"),
    ],
)  # fmt: skip
def test_experiment_refusals(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = experiment(tmp_path, EXPERIMENT.replace(old, new))
    with pytest.raises(config.BadInput, match=message):
        config.load_experiment(path)
