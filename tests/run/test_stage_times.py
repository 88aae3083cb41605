"""Estimated times of a run's stages: arithmetic worked out by hand."""

from pathlib import Path

import pytest

from acim_jax.config import run as run_config
from acim_jax.config.run import RunConfig, RunSettings
from acim_jax.config.stage import StageConfig
from acim_jax.run import preparation, stage_times
from acim_jax.run.preparation import Prepared
from acim_jax.run.stage_times import Lengths, Speeds

CONFIG = """
method: {method}
model: {{path: tiny}}
data: {{num_train: 40, num_validation: 12, num_test: 30, demonstrations: "generated:arithmetic"}}
warmup: {{steps: 5, rows: 8, buckets: [160]}}
explore: {{problems: 10, guided_rollouts: 3, keep: 2}}
improve: {{minibatches: 2, epochs: 2, buckets: [160], replay_weight: {replay}, replay_rows: 4}}
sampling: {{slots: 8, max_length: 120, prefill_buckets: [48]}}
evaluation: {{every: 2, curve_problems: 6, start_problems: 15, final_problems: {final}}}
run: {{iterations: {iterations}}}
"""
#: Binary fractions, so that sums are exact.
SPEEDS = Speeds(step_s=0.5, prompt_token_s=0.0625, training_token_s=0.125, update_s=2.0)
TOKENS = Lengths(prompt=16.0, response=32.0)


def prepared(tmp_path: Path, **fields: object) -> Prepared:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(**fields))
    return preparation.prepare(run_config.load(path))


def test_every_stage_is_counted(tmp_path: Path) -> None:
    run = prepared(tmp_path, method="em", replay=1.0, final="null", iterations=3)
    found = stage_times.estimate(run, SPEEDS, TOKENS)
    # A rollout takes 32 / 8 steps of half a second; a prompt one second; a training row 6.
    assert found == {
        "warm-up": 5 * (8 * 6 + 2),
        "evaluation of the start": (3 * 15 + 2 * 12) * 2 + 15 + 12,
        "rollouts of an iteration": 60 * 2 + 10,
        "fit of an iteration": 2 * 10 * 2 * 6 + 4 * 2 + 4 * 4 * 6,
        "a point of the curve": 6 * 2 + 6,
        "evaluation of the end": 3 * 30 * 2 + 30,
        "the whole run": 250 + 165 + 3 * (130 + 344) + 3 * 18 + 210,
    }


def test_stages_are_added_up() -> None:
    """3 iterations of (4 + 1) s, and the other 2 of 5 of (8 + 2) s; 7 s are no iteration's."""
    stages = (StageConfig(name="a", iterations=3), StageConfig(name="b"))
    config = RunConfig(stages=stages, run=RunSettings(iterations=5))
    parts = ("warm-up", "rollouts of an iteration", "fit of an iteration", "the whole run")
    found = [
        dict(zip(parts, of, strict=True)) for of in ((7.0, 4.0, 1.0, 32.0), (7.0, 8.0, 2.0, 57.0))
    ]
    assert stage_times.combined(found, config) == {
        "warm-up": 7,
        "rollouts of an iteration, a": 4,
        "fit of an iteration, a": 1,
        "rollouts of an iteration, b": 8,
        "fit of an iteration, b": 2,
        "the whole run": 7 + 3 * 5 + 2 * 10,
    }


def test_what_a_run_leaves_out_takes_no_time(tmp_path: Path) -> None:
    run = prepared(tmp_path, method="sft", replay=0.0, final=0, iterations=0)
    found = stage_times.estimate(run, SPEEDS, TOKENS)
    assert found["evaluation of the start"] == found["evaluation of the end"] == 0
    assert found["fit of an iteration"] == 2 * 10 * 2 * 6 + 4 * 2
    assert found["the whole run"] == found["warm-up"]


@pytest.mark.parametrize("field", Speeds._fields)
def test_speeds_are_measured(tmp_path: Path, field: str, speeds: Speeds) -> None:
    assert 0 < getattr(speeds, field) < 60


@pytest.fixture(scope="module")
def speeds(tmp_path_factory: pytest.TempPathFactory) -> Speeds:
    run = prepared(tmp_path_factory.mktemp("run"), method="em", replay=1.0, final=0, iterations=3)
    config, model = run.config, run.model
    with stage_times.resources.opened(config, model, run.problems) as opened:
        params = stage_times.resources.starting_params(config, model, opened.learner)
        return stage_times.measure(opened.learner.new_state(params), run, opened)
