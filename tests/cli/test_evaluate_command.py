"""`acim evaluate`: figures recomputed from the episodes, and runs that are cut and gone on with."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from acim_jax.checkpoint import model_folder
from acim_jax.cli import main, options
from acim_jax.markup import Markup
from acim_jax.records import Episode, RolloutRequest
from acim_jax.rollout import converse
from acim_jax.rollout.journal import Journal
from tests.support import tiny_models
from tests.support.model_folders import read_rows, write_model, write_rows

DECISIONS = ("--decision", "native", "text", "code")
SAMPLING = ("--samples", "2", "--temperature", "1")
SETTINGS = (*DECISIONS, *SAMPLING)


@pytest.fixture(scope="module")
def problems(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Problems of which the model solves some: words it is going to say are made their answers."""
    folder = tmp_path_factory.mktemp("problems")
    rows = [{"id": i, "problem": f"{'Add ' * (i % 3)}{i} + {7 * i}"} for i in range(24)]
    draft = write_rows(folder / "draft.jsonl", [{**row, "answer": "none"} for row in rows])
    assert evaluate(model, draft, folder / "draft", *SETTINGS) == 0
    said: dict[str, str] = {}
    for row in read_rows(folder / "draft" / "episodes.jsonl"):
        if row["answer"] is not None:
            said.setdefault(row["problem_id"], row["answer"])
    return write_rows(
        folder / "problems.jsonl",
        [{**row, "answer": said.get(str(row["id"]), "none")} for row in rows],
    )


def evaluate(model: Path, data: Path, out: Path, *more: str) -> int:
    return main.main(["evaluate", "--model", str(model), "--data", str(data), "--out", str(out),
                      "--slots", "8", "--max-length", "32", "--timeout", "5", *more])  # fmt: skip


@pytest.fixture(scope="module")
def finished(model: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evaluation of all three decisions, in three batches of at most 64 rollouts."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert evaluate(model, problems, out, *SETTINGS) == 0
    return out


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def test_figures_are_those_of_the_episodes(finished: Path, problems: Path) -> None:
    rows = read_rows(finished / "episodes.jsonl")
    assert len(rows) == 24 * 2 * 3
    table = results(finished)["data"][str(problems)]
    per_problem: dict[str, np.ndarray] = {}
    for guide in ("native", "text", "code"):
        mine = [row for row in rows if row["guide"] == guide]
        reward = np.array([row["reward"] for row in mine]).reshape(24, 2)
        chose = np.array([row["decision"] == "code" for row in mine]).reshape(24, 2)
        per_problem[guide] = reward.mean(1) >= 0.5
        per_problem[f"{guide} chose"] = chose.mean(1) >= 0.5
        executions = [e["status"] for row in mine for e in row["executions"]]
        assert table[guide]["n"] == 24
        assert table[guide]["accuracy"] == pytest.approx(reward.mean())
        assert table[guide]["stderr"] == pytest.approx(reward.mean(1).std(ddof=1) / 24**0.5)
        assert table[guide]["code_rate"] == pytest.approx(chose.mean())
        assert table[guide]["executions_per_problem"] == pytest.approx(len(executions) / 48)
        assert table[guide]["execution_ok_rate"] == (
            pytest.approx(executions.count("ok") / len(executions)) if executions else None
        )
        assert table[guide]["pass_at"]["2"] == pytest.approx(reward.any(1).mean())
        stops = [row["stop"] for row in mine]
        assert table[guide]["stops"] == {stop: stops.count(stop) for stop in set(stops)}
    assert 0 < table["native"]["accuracy"] < 1
    assert table["text"]["code_rate"] == 0
    assert table["code"]["executions_per_problem"] > 0
    solvable = per_problem["text"] | per_problem["code"]
    best_is_code = per_problem["code"] & ~per_problem["text"]
    chose = per_problem["native chose"]
    right = (chose == best_is_code) | (chose & per_problem["code"])
    decisions = table["decisions"]
    assert decisions["oracle_accuracy"] == pytest.approx(solvable.mean())
    assert solvable.any()
    assert decisions["selection_accuracy"] == pytest.approx(right[solvable].mean())


def test_results_state_what_was_used(finished: Path, problems: Path, model: Path) -> None:
    found = results(finished)
    assert found["model"] == str(model)
    assert found["seconds"] > 0
    config = found["config"]
    assert config["executor"]["timeout_s"] == 5.0
    assert config["executor"]["memory_mb"] == 1024
    assert (config["max_length"], config["slots"], config["samples"]) == (32, 8, 2)
    assert config["markup"]["code_open"] == tiny_models.CHATTY.code_open
    assert config["problems"] == {str(problems): 24}


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        for execution in row["executions"]:
            del execution["wall_s"]
    return rows


@pytest.mark.parametrize("kept", [0, 64, 100])
def test_an_interrupted_evaluation_ends_with_the_same_numbers(
    finished: Path, model: Path, problems: Path, tmp_path: Path, kept: int
) -> None:
    """As a crash leaves it: `kept` whole episodes, half of the next one, no results."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / "results.json").unlink()
    lines = (out / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    half = lines[kept][: len(lines[kept]) // 2]
    (out / "episodes.jsonl").write_bytes(b"".join(lines[:kept]) + half)
    assert evaluate(model, problems, out, *SETTINGS) == 0
    found, wanted = (without_times(read_rows(x / "episodes.jsonl")) for x in (out, finished))
    assert found == wanted
    assert results(out)["data"] == results(finished)["data"]


def test_sigterm_loses_only_the_rollouts_in_flight(
    finished: Path, model: Path, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a batch of 64 rollouts, 40 are finished when the scheduler ends the job."""
    out = tmp_path / "out"
    add, added = Journal.add, list[str]()

    def until_40(self: Journal, request: RolloutRequest, episode: Episode) -> None:
        add(self, request, episode)
        added.append(request.problem.id)
        if len(added) == 40:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Journal, "add", until_40)
    assert evaluate(model, problems, out, *SETTINGS) not in (0, 2)
    assert len(added) in range(40, 45)  # the decode call that was read ends first
    assert not read_rows(out / "episodes.jsonl")

    asked = list[int]()
    original = converse.converse

    def counted(params: object, requests: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(len(requests))
        return original(params, requests, *args, **kwargs)

    monkeypatch.setattr(Journal, "add", add)
    monkeypatch.setattr(converse, "converse", counted)
    assert evaluate(model, problems, out, *SETTINGS) == 0
    assert asked == [64 - len(added), 64, 16]
    found, wanted = (without_times(read_rows(x / "episodes.jsonl")) for x in (out, finished))
    assert found == wanted
    assert not list(out.glob("journal*"))


def test_a_finished_evaluation_only_writes_its_results_again(
    finished: Path, model: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / "results.json").unlink()
    before = (out / "episodes.jsonl").read_bytes()
    assert evaluate(model, problems, out, *SETTINGS, "--json") == 0
    assert (out / "episodes.jsonl").read_bytes() == before
    assert results(out) == results(finished)
    assert json.loads(capsys.readouterr().out) == results(finished)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--seed", "4"], "seed was 0, is 4"),
        (["--temperature", "0.5"], "temperature was 1.0, is 0.5"),
        (["--decision", "native"], "decisions was"),
        (["--cpu-seconds", "2"], "executor.cpu_seconds was 5.0, is 2.0"),
        (["--markup", "max_turns=1"], "markup.max_turns was 2, is 1"),
        (["--limit", "6"], "problems.jsonl"),
    ],
)
def test_other_settings_are_refused_by_name(
    finished: Path,
    model: Path,
    problems: Path,
    capsys: pytest.CaptureFixture[str],
    changed: list[str],
    said: str,
) -> None:
    before = {p.name: p.read_bytes() for p in finished.iterdir()}
    decisions = () if "--decision" in changed else DECISIONS
    assert evaluate(model, problems, finished, *decisions, *SAMPLING, *changed) == 2
    assert said in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in finished.iterdir()} == before


def test_other_weights_in_the_same_folder_are_noticed(
    model: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(model, moved)
    assert evaluate(moved, problems, out, "--limit", "2", "--decision", "text") == 0
    shutil.rmtree(moved)
    write_model(moved, seed=1)
    assert evaluate(moved, problems, out, "--limit", "2", "--decision", "text") == 2
    assert "weights was" in capsys.readouterr().err


def test_two_processes_do_not_write_into_one_folder(
    finished: Path, model: Path, problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with filelock.FileLock(finished / ".lock"):
        assert evaluate(model, problems, finished, *SETTINGS) == 2
    assert "in use" in capsys.readouterr().err


def test_decisions_are_judged_by_the_forced_runs_of_another_evaluation(
    finished: Path, model: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    native = ("--decision", "native", *SETTINGS[4:], "--oracle")
    out = tmp_path / "out"
    assert evaluate(model, problems, out, *native, str(finished)) == 0
    found, wanted = (results(x)["data"][str(problems)] for x in (out, finished))
    assert found["decisions"] == wanted["decisions"]
    assert found["native"] == wanted["native"]
    assert "text" not in found
    more = write_rows(tmp_path / "problems.jsonl", [
        *read_rows(problems), {"id": "new", "problem": "1 + 1", "answer": "2"},
    ])  # fmt: skip
    assert evaluate(model, more, tmp_path / "other", *native, str(finished)) == 2
    assert "'new'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_prompt_that_does_not_fit_is_wrong_and_counted(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"frage": "1 + 1", "id": "short", "answer": "2"},
        {"frage": "one and " * 60, "id": "long", "answer": "2"},
    ]
    data, out = write_rows(tmp_path / "data.jsonl", rows), tmp_path / "out"
    chosen = ("--decision", "text", "--map", "problem=frage")
    assert evaluate(model, data, out, *chosen) == 0
    table = results(out)["data"][str(data)]["text"]
    assert table["n"] == 2
    assert table["stops"]["prompt"] == 1
    assert "1 of 2 prompts do not fit into 32 tokens" in caplog.text
    episode = read_rows(out / "episodes.jsonl")[1]
    assert (episode["problem_id"], episode["stop"], episode["reward"]) == ("long", "prompt", 0.0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--samples", "2"], "--temperature"),
        (["--samples", "0"], "--samples"),
        (["--temperature", "nan"], "--temperature"),
        (["--max-length", "257"], "256"),
        (["--slots", "0"], "--slots"),
        (["--map", "problem"], "OURS=THEIRS"),
        (["--map", "question=problem"], "'question'"),
        (["--oracle", "nowhere"], "nowhere"),
        (["--timeout", "-1"], "timeout_s"),
        (["--data", "generated:arithmetic"], "no end"),
        (["--data", "a.jsonl", "a.jsonl"], "a.jsonl"),
        (["--model", "nothing"], "nothing"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    model: Path,
    problems: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    said: str,
) -> None:
    out = tmp_path / "out"
    assert evaluate(model, problems, out, *more) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_of_something_else_is_left_alone(
    model: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert evaluate(model, problems, tmp_path) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_rows_are_made_long_enough_for_prompt_turns_and_outputs(tmp_path: Path) -> None:
    markup = Markup(max_turns=2, max_output_chars=50)
    model = model_folder.open_model(str(write_model(tmp_path / "m", markup=markup)))
    # 40 given, three turns of 96, two outputs of 50, rounded up to 32; but at most 256 positions.
    assert options.sampling_config(model, 40, slots=4).max_length == 256
    config = dataclasses.replace(model.config, max_positions=8192)
    wide = dataclasses.replace(model, config=config)
    # Turns of 8192 / 32 = 256 tokens: 40 + 3 · 256 + 2 · 50 = 908.
    assert options.sampling_config(wide, 40, slots=4).max_length == 928
    assert options.sampling_config(wide, 40, slots=4, max_length=77).max_length == 77
    widest = [options.sampling_config(wide, n, slots=4).prefill_buckets[1] for n in (48, 49, 513)]
    assert widest == [48, 128, 512]


def test_references_that_nothing_equals_are_left_out_with_a_warning(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"id": "a", "problem": "1 + 1?", "answer": "2"},
        {"id": "b", "problem": "1 + 2?", "answer": "\\frac{3}{1"},
        {"id": "c", "problem": "1 + 3?", "answer": "One and three are four. So it is 4"},
    ]
    data = write_rows(tmp_path / "p.jsonl", rows)
    assert evaluate(model, data, tmp_path / "out") == 0
    assert {row["problem_id"] for row in read_rows(tmp_path / "out" / "episodes.jsonl")} == {
        "a",
        "c",
    }
    (said,) = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert "1 of 3 problems are left out" in said and "'b'" in said
    assert "1 of 3 problems have prose" in said and "'c'" in said


def test_an_empty_reference_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "p.jsonl", [{"id": "a", "problem": "What?", "answer": "  "}])
    assert evaluate(model, data, tmp_path / "out") == 2
    assert f"{data}:1: answer is empty" in capsys.readouterr().err
    write_rows(data, [{"id": "a", "problem": "What?", "answer": "}{"}])
    assert evaluate(model, data, tmp_path / "out") == 2
    assert "no reference answer equals itself" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
