"""`acim train`: what it refuses, and that nothing half-written is left by a refusal."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from acim_jax.checkpoint import store
from acim_jax.cli import main
from tests.support import model_folders
from tests.support.model_folders import write_rows

CONFIG = """
method: sft
model: {{path: {model}}}
data: {{num_train: 1, num_validation: 2, num_test: 2, demonstrations: generated:arithmetic}}
warmup: {{steps: 2, rows: 8, buckets: [144]}}
sampling: {{slots: 8, max_length: 160, prefill_rows: 8, prefill_buckets: [64]}}
executor: {{workers: 1}}
mesh: {{data: 8}}
evaluation: {{final_problems: 0}}
run: {{iterations: 0, trackers: []}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    model = model_folders.write_model(tmp_path / "model")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(model=model))
    return path


def test_a_checkpoint_of_another_shape_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = config.parent / "run"
    assert main.main(["train", str(config), "--out", str(run)]) == 0
    assert store.latest(run / "checkpoints") == 0
    model = config.parent / "model"
    shutil.rmtree(model)
    wider = dataclasses.replace(model_folders.CONFIG, intermediate_size=80)
    model_folders.write_model(model, config=wider)
    capsys.readouterr()
    assert main.main(["train", "--resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert "checkpoints/0" in said
    assert "mlp" in said
    assert "80" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--explore.guided_rolouts", "2"], "guided_rollouts"),
        (["--improve.lr", "fast"], "--improve.lr"),
        (["--method", "rl"], "native_rollouts"),
        (["--mesh.data", "3"], "devices"),
        (["--sampling.max_length", "20"], "max_length"),
        (["--sampling.max_length", "999"], "256"),
        (["--model.path", "nowhere"], "nowhere"),
        (["--data.test", "[missing.jsonl]"], "missing.jsonl"),
    ],
)
def test_a_config_that_cannot_work_is_refused_before_any_work(
    config: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    run = config.parent / "refused"
    assert main.main(["train", str(config), "--out", str(run), *options]) == 2
    assert said in capsys.readouterr().err
    assert not run.exists()


def test_a_dry_run_says_what_a_run_would_take(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["train", str(config), "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert "2 steps of 8 rows" in printed.err
    assert "generated:arithmetic, text and code in turn" in printed.err
    assert re.search(r"  the whole run +│ [\d.]+ (s|min) ", printed.err)
    assert "max_length: 160" in printed.out
    assert not (config.parent / "runs").exists()


def test_demonstrations_are_read_and_counted_before_any_work(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config.parent / "shown.jsonl"
    rows = [{"id": str(n), "problem": "1+1?", "response": "\\boxed{2}"} for n in range(3)]
    write_rows(file, rows)
    command = ["train", str(config), "--dry-run", "--data.demonstrations", str(file)]
    command += ["--model.markup.name", "plain"]
    assert main.main([*command, "--warmup.code_prior", "null"]) == 0
    assert "3 text, 0 code" in capsys.readouterr().err
    write_rows(file, [*rows, {"id": "x", "problem": "1+1?", "response": "\n```output\n2\n```\n"}])
    assert main.main(command) == 2
    assert f"{file}:4: id 'x': an interpreter's output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--warmup.buckets", "[8, 12]"], "None of the 3 demonstrations fits into warmup.buckets ="
         " [8, 12]: the shortest takes "),
        (["--warmup.code_prior", "0.4"], "code_prior is 0.4, but none of the 3 demonstrations"),
        (["--method", "em", "--warmup.steps", "0", "--improve.replay_weight", "1",
          "--improve.buckets", "[12]", "--sampling.max_length", "12"],
         "None of the 3 demonstrations fits into improve.buckets = [12]"),
        (["--data.demonstrations", "null"], "warmup.steps is 2, which takes demonstrations"),
        (["--warmup.steps", "0", "--method", "em", "--improve.replay_weight", "0.5",
          "--data.demonstrations", "null"], "improve.replay_weight is 0.5, which takes demons"),
    ],
)  # fmt: skip
def test_demonstrations_that_cannot_be_used_are_refused_before_any_work(
    config: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    file = config.parent / "shown.jsonl"
    rows = [{"id": str(n), "problem": "1+1?", "response": "\\boxed{2}"} for n in range(3)]
    write_rows(file, rows)
    command = ["train", str(config), "--out", str(config.parent / "run")]
    command += ["--data.demonstrations", str(file), "--model.markup.name", "plain", *options]
    assert main.main(command) == 2
    error = capsys.readouterr().err
    assert said in error and ("null" in options or f"data.demonstrations: {file}" in error)
    assert not (config.parent / "run").exists()
