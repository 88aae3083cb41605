"""A run killed anywhere goes on to the numbers of the run that never was."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
method: {method}
seed: 3
model: {{path: tiny}}
data: {{num_train: 64, num_validation: 12, num_test: 8, demonstrations: generated:arithmetic}}
explore: {{problems: 6, {rollouts}}}
improve: {{minibatches: 2, microbatch_rows: 8, buckets: [160], replay_rows: 4, replay_weight: 1.0, lr: 3.0e-4, max_staleness: 2, decision_weight: {weight}}}
sampling: {{slots: 8, max_length: 160, chunk: 8, prefill_rows: 8, prefill_buckets: [48]}}
executor: {{workers: 1, cpu_seconds: 0.05}}
evaluation: {{every: 2, curve_problems: 6, curve_samples: 2, final_problems: 0}}
run: {{iterations: 3, keep_checkpoints: 2, keep_rollouts: 3, trackers: []}}
"""  # noqa: E501
EM = CONFIG.format(
    method="em", rollouts="guided_rollouts: 2, native_rollouts: 0, keep: 2", weight=1.0
)

#: The first stage ends by its plateau with iteration 2, as no reward can rise by 1.
STAGED = (
    EM.replace("iterations: 3", "iterations: 4")
    + """
stages:
  - name: easy
    iterations: 3
    plateau: {metric: explore/reward, window: 1, min_gain: 1.0}
    data: {where: [{level: "[0, 1]"}]}
    explore: {problems: 4, mix_by: level, mix: {"0": 1, "1": 1}}
    sampling: {max_length: 112}
    improve: {kl_weight: 0.01, final_lr_fraction: 0.5}
  - name: hard
    optimiser: reset
    data: {where: [{level: 2}]}
"""
)

#: Runs `acim train …` in a process that kills itself, without warning, in iteration 2.
KILLER = """
import os, signal, sys
from acim_jax.improve import fit
from acim_jax.cli import main
from acim_jax.rollout import processes
from acim_jax.run import training

def die(): os.kill(os.getpid(), signal.SIGKILL)

where, *arguments = sys.argv[1:]
if where == "E-step":
    original = processes.converse
    def half_way(params, requests, *args, iteration, journal=None, **kwargs):
        left = [len(requests) // 2]
        if iteration == 2:
            add = journal.add
            def count(*finished):
                add(*finished)
                left[0] -= 1
                if left[0] == 0:
                    die()
            journal.add = count
        return original(params, requests, *args, iteration=iteration, journal=journal, **kwargs)
    processes.converse = half_way
elif where in ("before the checkpoint", "after the checkpoint"):
    save = training.store.save
    def killed(folder, iteration, *args, **kwargs):
        if iteration == 2 and where == "before the checkpoint":
            die()
        save(folder, iteration, *args, **kwargs)
        if iteration == 2:
            die()
    training.store.save = killed
else:
    original_step = fit._calls  # called once in every optimiser step
    calls = [0]
    def second_step(*args):
        calls[0] += 1
        if calls[0] == 4:  # two optimiser steps an iteration: the second of iteration 2
            die()
        return original_step(*args)
    fit._calls = second_step
sys.exit(main.main(arguments))
"""


def acim(*arguments: object, script: str | None = None) -> subprocess.CompletedProcess[str]:
    command = ["-c", script] if script else ["-m", "acim_jax.cli.main"]
    return subprocess.run(
        [sys.executable, *command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def numbers(run: Path) -> list[dict[str, object]]:
    """metrics.jsonl without what measures time."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in row.items() if not k.startswith(("time/", "compile/"))} for row in rows
    ]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resume") / "em.yaml"
    path.write_text(EM)
    return path


@pytest.fixture(scope="module")
def uninterrupted(config: Path) -> Path:
    run = config.parent / "uninterrupted"
    finished = acim("train", config, "--out", run)
    assert finished.returncode == 0, finished.stderr
    return run


@pytest.mark.parametrize("where", ["E-step", "M-step"])
def test_a_killed_run_goes_on_to_the_same_numbers(
    config: Path, uninterrupted: Path, where: str
) -> None:
    run = config.parent / where
    killed = acim(where, "train", config, "--out", run, script=KILLER)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [row["iteration"] for row in numbers(run)] == [0, 1]
    resumed = acim("train", "--resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(run) == numbers(uninterrupted)
    rewards = [row.get("explore/reward") for row in numbers(run)[1:]]
    assert any(rewards), "the model must earn rewards, or nothing is compared"


@pytest.fixture(scope="module")
def staged(config: Path) -> tuple[Path, Path]:
    """A config with stages, and its run that was never killed."""
    file, run = config.with_name("staged.yaml"), config.parent / "staged"
    file.write_text(STAGED)
    finished = acim("train", file, "--out", run)
    assert finished.returncode == 0, finished.stderr
    return file, run


def test_stages_differ_in_what_they_say(staged: tuple[Path, Path]) -> None:
    rows = numbers(staged[1])[1:]
    assert [row["stage"] for row in rows] == [1, 1, 2, 2]
    assert [row["rollouts"] for row in rows] == [16, 32, 56, 80]
    assert [row["train/lr"] for row in rows] == pytest.approx([3e-4, 2.25e-4, 3e-4, 3e-5])
    assert [row.get("domain/0/problems") for row in rows] == [2, 2, None, None]
    assert rows[0]["train/reference_kl"] is not None
    assert rows[2]["train/reference_kl"] is rows[3]["train/reference_kl"] is None
    lines = (staged[1] / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["compile/count"] for line in lines[1:]] == [0, 0, 0, 0]
    for iteration, levels in ((1, {"0", "1"}), (2, {"0", "1"}), (3, {"2"}), (4, {"2"})):
        file = staged[1] / "episodes" / f"iteration_{iteration:04d}.jsonl"
        strata = [json.loads(line)["stratum"] for line in file.read_text().splitlines()]
        assert {stratum.rpartition("/")[2] for stratum in strata} == levels


@pytest.mark.parametrize("where", ["before the checkpoint", "after the checkpoint"])
def test_a_run_killed_at_a_switch_makes_the_same_one(staged: tuple[Path, Path], where: str) -> None:
    file, whole = staged
    run = file.parent / where
    killed = acim(where, "train", file, "--out", run, script=KILLER)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [row["iteration"] for row in numbers(run)] == [0, 1, 2]
    resumed = acim("train", "--resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(run) == numbers(whole)


def test_a_warm_iteration_compiles_nothing(uninterrupted: Path) -> None:
    lines = (uninterrupted / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[0]["compile/count"] > 10
    assert [row["compile/count"] for row in rows[1:]] == [0, 0, 0]


def replayed(*arguments: object) -> dict[str, tuple[str, str]]:
    """The table's lines: what the run had, and what the replay gives."""
    finished = acim("train", "--replay", *arguments)
    assert finished.returncode == 0, finished.stderr
    lines = [line.split("│") for line in finished.stderr.splitlines() if line.startswith("│")]
    return {name.strip(): (then.strip(), now.strip()) for _, name, then, now, _ in lines}


def test_the_m_step_of_a_run_is_made_again_without_sampling(uninterrupted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    figures = replayed(f"{uninterrupted}:3")
    assert all(then == now for then, now in figures.values()), figures
    row = numbers(uninterrupted)[3]
    assert float(figures["train/grad_norm"][1]) == pytest.approx(row["train/grad_norm"], rel=1e-5)
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")} == before

    other = replayed(f"{uninterrupted}:3", "--improve.max_staleness", "0")
    then, now = map(float, other["train/stale_fraction"])
    assert then > now == 0.0, "the rows of iterations before"
    assert len({*other["train/grad_norm_policy"]}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{run}:1",), "has no checkpoint of iteration 0; it has 2, 3"),
        (("{run}:9",), "has no iteration 9; its last is 3"),
        (("{run}",), "--replay needs RUN:ITERATION, such as runs/em:3"),
        (("{run}:3", "--sampling.temperature", "0.5"), "sampling.temperature was 1.0, is 0.5"),
        (("{run}:3", "--explore.guided_rollouts", "3"), "are not in"),
    ],
)
def test_what_cannot_be_replayed(uninterrupted: Path, arguments, message: str) -> None:
    given = [one.format(run=uninterrupted) for one in arguments]
    refused = acim("train", "--replay", *given)
    assert refused.returncode == 2
    assert message in " ".join(refused.stderr.split())
