"""A run's full evaluations: gone on with where they were cut, and taken from the run before."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from acim_jax.cli import main
from tests.support import model_folders
from tests.support.model_folders import read_rows

CONFIG = """
method: {method}
model: {{path: {model}}}
data:
  {{num_train: 2, num_validation: 12, num_test: 24, demonstrations: generated:arithmetic}}
warmup: {{steps: {steps}, rows: 8, buckets: [144]}}
explore: {{problems: 2, guided_rollouts: 1, native_rollouts: 0, keep: 1, min_mass: 0}}
improve: {{minibatches: 1, microbatch_rows: 8, buckets: [144], replay_rows: 8}}
sampling: {{slots: 8, max_length: 128, chunk: 8, prefill_rows: 8, prefill_buckets: [64]}}
executor: {{workers: 1}}
mesh: {{data: 1, fsdp: 1, tensor: 1}}
evaluation: {{curve_problems: 12, start_problems: {start}, final_problems: {final}}}
run: {{iterations: 0, trackers: []}}
"""
#: Rollouts of the first of three batches: native and text of 24 test problems, 16 of code.
BATCH = 64


def train(folder: Path, *, start: int | str = "null", **fields: object) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG.format(start=start, **fields))
    assert main.main(["train", str(folder / "config.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def warmed_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warm-up with its final evaluation."""
    folder = tmp_path_factory.mktemp("warm_up")
    model = model_folders.write_model(folder / "model")
    return train(folder / "sft", method="sft", model=model, steps=2, final="null")


@pytest.fixture(scope="module")
def started(warmed_up: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An EM run of no iterations from weights that no run has evaluated."""
    model, folder = warmed_up.parents[1] / "model", tmp_path_factory.mktemp("started")
    return train(folder / "em", method="em", model=model, steps=0, final=0)


def interrupt(evaluation: Path) -> None:
    """What a crash leaves: a whole batch, and two records and a half of the next one.

    The first record is marked: it is kept if and only if its batch is not made again.
    """
    for path in evaluation.iterdir():
        if path.name not in ("evaluation.json", "episodes.jsonl"):
            path.unlink()
    records = read_rows(evaluation / "episodes.jsonl")
    records[0]["graded"] = "marked"
    text = "".join(f"{json.dumps(record)}\n" for record in records[: BATCH + 3])
    (evaluation / "episodes.jsonl").write_text(text[:-20])


def is_marked(evaluation: Path) -> bool:
    return read_rows(evaluation / "episodes.jsonl")[0]["graded"] == "marked"


def figures(evaluation: Path) -> tuple[Any, ...]:
    data = json.loads((evaluation / "results.json").read_text())["data"]
    names = ("problems.jsonl", "validation.jsonl", "strata.json")
    return data, *((evaluation / name).read_text() for name in names)


def test_the_folder_holds_both_sets_by_guide_and_problem(warmed_up: Path) -> None:
    evaluation = warmed_up / "evaluation" / "final"
    records = read_rows(evaluation / "episodes.jsonl")
    assert [(r["file"], r["guide"]) for r in records] == [
        *(("test", guide) for guide in ("native", "text", "code") for _ in range(24)),
        *(("validation", guide) for guide in ("text", "code") for _ in range(12)),
    ]
    for name, guides in (
        ("problems", ("native", "text", "code")),
        ("validation", ("text", "code")),
    ):
        problems = read_rows(evaluation / f"{name}.jsonl")
        file = "test" if name == "problems" else name
        for guide in guides:
            mine = [r for r in records if (r["file"], r["guide"]) == (file, guide)]
            assert [p["problem_id"] for p in problems] == [r["problem_id"] for r in mine]
            assert [p[guide] for p in problems] == [r["reward"] for r in mine]
            if guide == "native":
                assert [p["decision"] for p in problems] == [r["decision"] for r in mine]
    strata = json.loads((evaluation / "strata.json").read_text())
    assert sum(stratum["n"] for stratum in strata) == 24
    assert len(strata) > 1


@pytest.mark.parametrize("same_weights", [True, False])
def test_a_cut_final_evaluation_goes_on_if_the_weights_are_the_same(
    warmed_up: Path, tmp_path: Path, same_weights: bool
) -> None:
    run = tmp_path / "run"
    shutil.copytree(warmed_up, run)
    evaluation = run / "evaluation" / "final"
    interrupt(evaluation)
    if not same_weights:
        settings = json.loads((evaluation / "evaluation.json").read_text())
        settings["settings"]["weights"] = "0123456789abcdef"
        (evaluation / "evaluation.json").write_text(json.dumps(settings))
    assert main.main(["train", "--resume", str(run)]) == 0
    assert is_marked(evaluation) == same_weights
    assert figures(evaluation) == figures(warmed_up / "evaluation" / "final")


def test_a_cut_start_goes_on(started: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(started, run)
    evaluation = run / "evaluation" / "start"
    interrupt(evaluation)
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    assert main.main(["train", "--resume", str(run)]) == 0
    assert is_marked(evaluation)
    assert figures(evaluation) == figures(started / "evaluation" / "start")
    (found,), (wanted,) = (read_rows(x / "metrics.jsonl") for x in (run, started))
    assert found["eval/n"] == 12
    for name, value in wanted.items():
        assert name.startswith(("time/", "compile/")) or found[name] == value, name


def test_the_start_is_the_final_evaluation_of_the_same_weights(
    warmed_up: Path, started: Path, tmp_path: Path
) -> None:
    run = train(tmp_path / "em", method="em", model=warmed_up, steps=0, final=0)
    start, final = run / "evaluation" / "start", warmed_up / "evaluation" / "final"
    for path in final.iterdir():
        assert path.name.startswith(".") or (start / path.name).read_bytes() == path.read_bytes()
    other = started / "evaluation" / "start" / "episodes.jsonl"
    assert other.read_bytes() != (final / "episodes.jsonl").read_bytes()


def test_a_start_of_some_problems_or_of_none(warmed_up: Path, tmp_path: Path) -> None:
    model = warmed_up.parents[1] / "model"
    some = train(tmp_path / "some", method="em", model=model, steps=0, start=6, final=0)
    chosen = [
        record["problem_id"] for record in read_rows(some / "evaluation/start/problems.jsonl")
    ]
    whole = read_rows(warmed_up / "evaluation/final/problems.jsonl")
    assert chosen == [record["problem_id"] for record in whole[::4]]
    none = train(tmp_path / "none", method="em", model=model, steps=0, start=0, final=0)
    assert not (none / "evaluation/start").exists()
    (with_start,), (without,) = (read_rows(run / "metrics.jsonl") for run in (some, none))
    assert without["eval/accuracy"] == with_start["eval/accuracy"]
    assert with_start["eval/oracle"] is not None and "eval/oracle" not in without
    judged = "eval/policy_code_on_text_favoured"
    assert with_start[judged] is not None and without.get(judged) is None
