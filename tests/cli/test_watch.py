"""`acim watch` reads the folder of a run at any moment of its life."""

import json
import os

import pytest

from acim_jax.cli import main, watch
from acim_jax.report import live

CONFIG = "method: em\nrun: {iterations: 4}\n"


def write(folder, lines, *, finished=False):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "manifest.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        (folder / "evaluation" / "final").mkdir(parents=True)
        (folder / "evaluation" / "final" / "results.json").write_text("{}")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "em-seed0"
    write(folder, [
        {"iteration": 0, "rollouts": 0, "eval/accuracy": 0.25},
        {"iteration": 1, "rollouts": 64, "explore/usable_groups": 0.0, "time/total": 60.0},
    ])  # fmt: skip
    (folder / "episodes").mkdir()
    episode = {
        "problem_id": "p", "question": "What is 2+2?", "guide": "code", "decision": "code",
        "reward": 1.0,
        "segments": [
            {"author": "PROMPT", "text": "do not show"},
            {"author": "MODEL", "text": "print(2+2)"},
        ],
    }  # fmt: skip
    (folder / "episodes" / "iteration_0001.jsonl").write_text(json.dumps(episode) + "\n")
    return folder


def test_where_the_run_is(run):
    (run / "rollouts").mkdir()
    lines = '{"head": 1}\n{"key": 1}\n{"key": 2}\n{"half'
    (run / "rollouts" / "iteration_0002.0.jsonl").write_text(lines)
    now = live.read(run, 2)
    assert now.iteration == 1 and not now.finished
    assert now.rollouts == (2, 64)
    assert now.seconds_left == 60.0 * 3
    assert [alarm.name for alarm in now.alarms] == ["NO_VARIANCE"]


def test_the_view_once(run, capsys):
    assert main.main(["watch", str(run), "--once"]) == 0
    shown = capsys.readouterr().err
    assert "iteration 2 of 4, 0 of 64 rollouts, about 3 min left" in " ".join(shown.split())
    assert "⚠" in shown and "print(2+2)" in shown and "do not show" not in shown


def test_an_experiment_shows_the_run_at_work(run):
    write(other := run.parent / "rl-seed0", [], finished=True)
    for path in other.iterdir():
        os.utime(path, (1, 1))
    assert live.find(run.parent) == run
    assert live.read(other, 1).finished


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert main.main(["watch", str(tmp_path), "--once"]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_sparklines_span_least_to_greatest():
    assert watch.sparkline([float(i) for i in range(8)]) == "▁▂▃▄▅▆▇█"
    assert watch.sparkline([2.0, 2.0]) == "▁▁"
    assert watch.sparkline([0.0, 9.0, 9.0], width=2) == "▁▁"
