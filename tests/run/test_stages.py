"""When a stage ends, by hand-written curves, and what each stage is made of."""

import dataclasses
import logging
from pathlib import Path

import jax
import numpy as np
import pytest

from acim_jax.bad_input import BadInput
from acim_jax.config import experiment
from acim_jax.config import run as run_config
from acim_jax.config.run import RunConfig, RunSettings
from acim_jax.config.stage import PlateauConfig, StageConfig
from acim_jax.improve import state as train_state
from acim_jax.improve import step
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.model import transformer
from acim_jax.run import config_changes, dry_run, preparation, stages
from acim_jax.run.stages import Position
from tests.support import tiny_models

RULE = PlateauConfig(metric="eval/accuracy", window=2, min_gain=0.05, at_least=3)
RUN = RunConfig(
    run=RunSettings(iterations=20),
    stages=(
        StageConfig(name="a", iterations=8, plateau=RULE),
        StageConfig(name="b", iterations=4),
        StageConfig(name="c"),
    ),
)
FILE = """
model: {path: tiny}
data: {num_train: 40, num_validation: 8, num_test: 8, demonstrations: generated:arithmetic}
explore: {problems: 8, mix_by: level}
improve: {buckets: [64, 160], lr: 3.0e-4}
sampling: {slots: 8, max_length: 160, prefill_buckets: [48]}
run: {iterations: 9}
stages:
  - name: short
    iterations: 3
    data: {where: [{level: "[0, 1]"}]}
    explore: {mix: {"0": 2, "1": 1}}
    sampling: {max_length: 64}
    improve: {buckets: [64], kl_weight: 0.001}
  - name: long
    optimiser: reset
    data: {where: [{level: 2}], num_train: 60}
    explore: {drop_truncated: true}
"""


def lines(*accuracies: float | None) -> list[dict[str, float | int | None]]:
    """From iteration 0 on."""
    return [{"iteration": i, "eval/accuracy": x} for i, x in enumerate(accuracies)]


@pytest.mark.parametrize(
    ("values", "is_reached"),
    [
        ([0.1, 0.2, 0.3], False),
        ([0.1, 0.2, 0.3, 0.4], False),  # 0.15, 0.35
        ([0.2, 0.4, 0.3, 0.4], True),  # 0.30, 0.35: as much as min_gain
        ([0.2, 0.4, 0.3, 0.42], False),  # 0.30, 0.36
        ([0.0, 0.1, 0.9, 0.8, 0.4, 0.4], True),  # only the last four count
    ],
)
def test_a_plateau_compares_two_windows(values: list[float], is_reached: bool) -> None:
    rule = dataclasses.replace(RULE, min_gain=0.05 + 1e-9)
    assert stages.has_plateaued(values, rule) == is_reached


def test_a_stage_ends_at_its_plateau_and_the_next_one_counts_anew() -> None:
    curve = lines(0.9, 0.1, 0.3, 0.4, None, 0.4, 0.3, 0.3)
    at, found = Position(), list[Position]()
    for iteration in range(1, 20):
        at = at.after(iteration, RUN, curve)
        found.append(at)
    # Iteration 5 is the first with four values: 0.1, 0.3 and 0.4, 0.4. In 6 the gain is gone.
    assert found[:6] == [Position(0, 1)] * 5 + [Position(1, 7)]
    assert found[6:10] == [Position(1, 7)] * 3 + [Position(2, 11)]
    assert found[10:] == [Position(2, 11)] * 9


def test_a_stage_has_at_least_and_at_most_its_iterations() -> None:
    flat, rising = lines(*[0.5] * 20), lines(*[i / 20 for i in range(20)])
    late = dataclasses.replace(RULE, at_least=6)
    run = dataclasses.replace(
        RUN, stages=(dataclasses.replace(RUN.stages[0], plateau=late), *RUN.stages[1:])
    )
    assert [Position().after(i, run, flat).stage for i in range(1, 9)] == [0] * 5 + [1] * 3
    assert [Position().after(i, RUN, rising).stage for i in range(1, 9)] == [0] * 7 + [1]
    assert RunConfig().stages == () and Position().after(20, RunConfig(), flat) == Position()


def test_the_schedule_is_the_stages_own() -> None:
    assert [Position(1, 7).progress(i, RUN) for i in (7, 8, 10)] == [0.0, 1 / 3, 1.0]
    assert [Position(2, 11).progress(i, RUN) for i in (11, 20)] == [0.0, 1.0]
    plain = RunConfig(run=RunSettings(iterations=5))
    assert [Position().progress(i, plain) for i in (1, 2, 5)] == [0.0, 0.25, 1.0]


def test_a_new_optimiser_has_no_moments_and_the_old_steps() -> None:
    learner = Learner(tiny_models.CONFIG, train_state.optimizer(ImproveConfig()))
    params = jax.jit(transformer.init, static_argnums=0)(tiny_models.CONFIG, jax.random.key(0))
    gradients = jax.tree.map(lambda x: np.ones(x.shape, np.float32), params)
    lr = np.float32(1e-3)
    stepped, _ = step.apply(learner.new_state(params), gradients, lr, optimiser=learner.optimiser)
    moments = [x for x in jax.tree.leaves(stepped.opt_state) if x.ndim]
    assert all(np.abs(x).max() > 0 for x in moments) and len(moments) > 10
    fresh = learner.with_new_moments(stepped)
    assert all(np.abs(x).max() == 0 for x in jax.tree.leaves(fresh.opt_state))
    assert int(fresh.step) == 1
    for one, other in zip(*map(jax.tree.leaves, (fresh.params, stepped.params)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_equal_optimisers_are_one() -> None:
    first = train_state.optimizer(ImproveConfig(lr=1.0, kl_weight=0.5))
    assert train_state.optimizer(ImproveConfig(lr=0.1)) is first
    assert train_state.optimizer(ImproveConfig(b2=0.5)) is not first


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stages") / "staged.yaml"
    path.write_text(FILE)
    return path


def test_a_stage_is_the_run_with_its_own_settings_on_top(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = run_config.load(file)
    with caplog.at_level(logging.INFO):
        prepared = preparation.prepare(config)
    short, long = prepared.stages
    assert {p.level for p in short.train} == {"0", "1"} and {p.level for p in long.train} == {"2"}
    assert short.config.sampling.max_length == 64 and long.config.sampling.max_length == 160
    assert short.config.improve.kl_weight == 0.001 and long.config.improve.kl_weight == 0
    assert short.config.improve.lr == long.config.improve.lr == 3e-4
    assert long.config.explore.drop_truncated and not short.config.explore.drop_truncated
    assert len(short.train) + len(long.train) < 40 + 60
    assert len(prepared.problems) == len(short.train) + len(long.train) + 8 + 8
    assert f"data.where takes {len(short.train)} of 40 training problems" in caplog.text
    assert run_config.load(_written(file, run_config.dump(config))) == config


def _written(file: Path, text: str) -> Path:
    path = file.with_name("dumped.yaml")
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    optimiser: reset\n", "    seed: 4\n", "stages[1].seed: unknown field"),
        ("    optimiser: reset\n", "    lora: {}\n", "the fields here are name, iterations, pl"),
        ("num_train: 60", "num_test: 60", ":17: stages[1]: data.num_test cannot change within a"),
        ("num_train: 60", "seed: 3", "of data a stage may set train, num_train, mapping, where"),
        ("max_length: 64", "max_length: 6000", "improve.buckets holds 64"),
        ("[64], kl_weight: 0.001", "wide", ":14: stages[0].improve.buckets: expected a list"),
        ("    iterations: 3\n", "", "short must say after how many iterations"),
        ("    iterations: 3\n", "    iterations: 9\n", "the last stage would never begin"),
        ("    optimiser: reset\n", "    iterations: 3\n", "long is the last stage"),
        ("name: long", "name: short", "distinct names, got short, short"),
        ("- name: long\n", "- iterations: null\n", "name: every stage needs one"),
        ("model: {path", "method: sft\nrun: {iterations: 0}\nmodel: {path", "run"),
    ],
)
def test_what_is_no_stage_is_refused(file: Path, old: str, new: str, said: str) -> None:
    assert old in FILE
    with pytest.raises(BadInput) as refused:
        run_config.load(_written(file, FILE.replace(old, new)))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{level: 2}", "{level: 7}", "none of 60 training problems meets it"),
        ('"1": 1}', '"1": 1, "4": 1}', "explore.mix: an iteration takes up to"),
        (
            "    iterations: 3\n",
            "    iterations: 3\n    plateau: {metric: accuracy}\n",
            "no metric",
        ),
    ],
)
def test_stages_that_cannot_begin_are_refused_at_the_start_of_the_run(
    file: Path, old: str, new: str, said: str
) -> None:
    config = run_config.load(_written(file, FILE.replace(old, new)))
    with pytest.raises(ValueError, match=said):
        preparation.prepare(config)


def test_memory_is_planned_for_the_widest_stage(file: Path) -> None:
    """The second stage has 64 times the run's rows (8 slots, 4 spare), and so many times its pages,
    but for one; the first one's reference of the KL, as large as the weights, is held on."""
    one = FILE + "mesh: {data: 1, fsdp: 1, tensor: 1}\n"
    wide = one.replace("drop_truncated: true}", "drop_truncated: true}\n    sampling: {slots: 512}")
    found = [
        dry_run.needed(preparation.prepare(run_config.load(_written(file, text))))
        for text in (one.replace("kl_weight: 0.001", "kl_weight: 0"), wide)
    ]
    (plain, without), (exploring, improving) = found
    assert exploring.pages / plain.pages == pytest.approx(64, rel=0.02)
    assert without.base == 0
    assert improving.base == improving.weights > 0


def test_stages_of_an_experiments_arm_are_checked(tmp_path: Path) -> None:
    stages_of = "[{name: x, iterations: 1, improve: {lr: fast}}, {name: y}]"
    file = tmp_path / "pair.yaml"
    file.write_text(
        f"arms:\n  a: {{}}\n  b:\n    run: {{iterations: 3}}\n    stages: {stages_of}\n"
    )
    with pytest.raises(BadInput, match=r"yaml:5: arms.b.stages\[0\].improve.lr: expected a number"):
        experiment.load(file)


def test_stages_cannot_be_edited_within_a_run(file: Path) -> None:
    config = run_config.load(file)
    edited = run_config.load(_written(file, FILE.replace("kl_weight: 0.001", "kl_weight: 0.1")))
    with pytest.raises(ValueError, match="stages was"):
        config_changes.check(run_config.plain(config), run_config.plain(edited), file)
