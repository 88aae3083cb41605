"""A reward, a data set and a tool of the user's own, from a folder outside of the package."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from acim_jax.cli import main
from acim_jax.files import jsonl
from tests.support.model_folders import read_rows, write_rows

ROWS = [{"id": i, "problem": f"{i} + {7 * i}", "answer": "}{", "bonus": i / 8} for i in range(4)]
REWARD = """
def reward(problem, response):
    return problem["bonus"] + (response["tokens"] % 2) / 2
"""


def evaluate(model: Path, data: str, out: Path, *more: str) -> int:
    return main.main(["evaluate", "--model", str(model), "--data", data, "--out", str(out),
                      "--slots", "8", "--max-length", "32", "--timeout", "5", *more])  # fmt: skip


def write(folder: Path, source: str) -> Path:
    path = folder / "mine.py"
    path.write_text(source, encoding="utf-8")
    return path


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def num_response_tokens(segments: Sequence[Any]) -> int:
    return sum(len(one["token_ids"]) for one in segments if one["author"] != "PROMPT")


def test_an_own_reward_decides_and_is_part_of_the_fingerprint(model: Path, tmp_path: Path) -> None:
    data = str(write_rows(tmp_path / "p.jsonl", ROWS))  # whose references equal nothing
    mine = write(tmp_path, REWARD)
    assert evaluate(model, data, tmp_path / "a", "--reward", f"{mine}:reward") == 0
    rows = read_rows(tmp_path / "a" / "episodes.jsonl")
    expected = [i / 8 + num_response_tokens(r["segments"]) % 2 / 2 for i, r in enumerate(rows)]
    assert [row["reward"] for row in rows] == expected
    assert {row["graded"] for row in rows} == {"own"}
    assert results(tmp_path / "a")["data"][data]["native"]["accuracy"] == sum(expected) / 4

    mine = write(tmp_path, f"{REWARD}\n# edited\n")
    assert evaluate(model, data, tmp_path / "b", "--reward", f"{mine}:reward") == 0
    of = [results(tmp_path / name) for name in "ab"]
    assert of[0]["fingerprint"] != of[1]["fingerprint"]
    assert [one["comparable"]["own"]["reward"][:7] for one in of] == ["reward "] * 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    return 1 / 0", "ZeroDivisionError: division by zero ({}, line 2)"),
        ("    return float('nan')", "a reward must be a number from 0 to 1, got nan"),
        ("    return 1.5", "a reward must be a number from 0 to 1, got 1.5"),
        ("    return 'good'", "a reward must be a number from 0 to 1, got 'good'"),
    ],
)
def test_a_reward_that_fails_ends_the_work_and_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, said: str
) -> None:
    data = str(write_rows(tmp_path / "p.jsonl", ROWS[:1]))
    mine = write(tmp_path, f"def reward(problem, response):\n{body}\n")
    assert evaluate(model, data, tmp_path / "out", "--reward", f"{mine}:reward") == 2
    error = capsys.readouterr().err
    assert f"{mine}:reward, problem '0', native rollout 0: {said.format(mine)}" in error
    assert "Traceback" not in error


def test_a_wrong_reward_is_refused_before_the_model_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(write_rows(tmp_path / "p.jsonl", ROWS))
    mine = write(tmp_path, "def reward(prompt, completion):\n    return 1\n")
    assert evaluate(tmp_path / "m", data, tmp_path / "out", "--reward", f"{mine}:reward") == 2
    assert "nowhere" not in capsys.readouterr().err
    (tmp_path / "m").mkdir()
    assert evaluate(tmp_path / "m", data, tmp_path / "out", "--reward", f"{mine}:reward") == 2
    error = capsys.readouterr().err
    assert "(prompt, completion)" in error
    assert "def reward(problem: dict, response: dict) -> float: ..." in error
    assert not (tmp_path / "out").exists()


DATA = """
def problems(split):
    for n in range(1000):
        yield {"problem": f"{split}: {n} + 1?", "answer": n + 1}
"""


def test_an_own_data_set_is_evaluated_on(model: Path, tmp_path: Path) -> None:
    data = f"{write(tmp_path, DATA)}:problems"
    assert evaluate(model, data, tmp_path / "out", "--limit", "3") == 0
    rows = read_rows(tmp_path / "out" / "episodes.jsonl")
    assert [(row["file"], row["problem_id"]) for row in rows] == [(data, id) for id in "123"]
    prompts = [row["segments"][0]["text"] for row in rows]
    assert ["test: 1 + 1?" in prompt for prompt in prompts] == [False, True, False]


def test_a_wrong_data_set_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m").mkdir()
    data = f"{write(tmp_path, 'def problems(): return []')}:problems"
    assert evaluate(tmp_path / "m", data, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"--data: {data} has the signature ()" in error
    assert "def problems(split: str) -> Iterable[dict]: ..." in error
    config = tmp_path / "config.yaml"
    config.write_text(f"data: {{train: ['{data}']}}\n", encoding="utf-8")
    assert main.main(["train", str(config), "--out", str(tmp_path / "run")]) == 2
    assert f"data.train: {data} has the signature ()" in capsys.readouterr().err


TOOL = '''
def km(city: str) -> float:
    """How far it is."""
    return {"Rom": 12.5}[city]
'''
#: Any e ends a program (`tiny_models.CHATTY`); what a random model writes until then is a comment.
CALL = "code_prefixes=[\"Code: tprint(km('Rom'))#\"]"


def test_programs_call_an_own_tool(tmp_path: Path) -> None:
    programs = [{"id": 1, "code": "km('Rom') * 2"}, {"id": 2, "code": "km('Ur')"}]
    write_rows(tmp_path / "in.jsonl", programs)
    more = ["--tools", f"{write(tmp_path, TOOL)}:km"]
    out = tmp_path / "out.jsonl"
    assert main.main(["execute", "--input", str(tmp_path / "in.jsonl"), "--output", str(out),
                      "--workers", "1", *more]) == 0  # fmt: skip
    first, second = read_rows(out)
    assert (first["status"], first["stdout"]) == ("ok", "25.0\n")
    assert (second["status"], second["stderr"].splitlines()[-1]) == ("error", "KeyError: 'Ur'")


def test_a_model_is_told_of_a_tool_and_its_programs_call_it(model: Path, tmp_path: Path) -> None:
    """A forced prefix begins each program with a call, the model goes on with its own."""
    data = str(write_rows(tmp_path / "p.jsonl", [{"id": 1, "problem": "79?", "answer": 1}]))
    more = ["--decision", "code", "--samples", "8", "--temperature", "1", "--markup", CALL,
            "--max-length", "160"]  # fmt: skip
    tool = f"{write(tmp_path, TOOL)}:km"
    assert evaluate(model, data, tmp_path / "a", *more, "--tools", tool) == 0
    assert evaluate(model, data, tmp_path / "b", *more) == 0
    with_tool, without = (read_rows(tmp_path / name / "episodes.jsonl") for name in "ab")
    stub = 'def km(city: str) -> float:\n    """How far it is."""\n'
    assert all(stub in row["segments"][0]["text"] for row in with_tool)
    assert not any(stub in row["segments"][0]["text"] for row in without)
    printed = [one["stdout"] for row in with_tool for one in row["executions"][:1]]
    failed = [one["stderr"] for row in without for one in row["executions"][:1]]
    assert printed.count("12.5\n") > 1
    assert sum("name 'km' is not defined" in text for text in failed) > 1
    a, b = (results(tmp_path / name)["comparable"]["own"]["tools"] for name in "ab")
    assert (a[0][:3], len(a), b) == ("km ", 1, [])


def test_a_wrong_tool_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = f"{write(tmp_path, 'def km(city): return 1')}:km"
    assert main.main(["ask", "--model", "tiny", "--tools", tool, "1 + 1?"]) == 2
    said = f"executor.tools: {tool} has the signature (city), where city has no type; needed is"
    assert said in capsys.readouterr().err
    config = tmp_path / "config.yaml"
    config.write_text(f"executor: {{tools: ['{tool}']}}\n", encoding="utf-8")
    assert main.main(["train", str(config), "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


RUN = """
method: rl
model: {{path: {model}, markup: {{max_turns: 1}}}}
data: {{train: ['{mine}:problems'], num_train: 3, validation: ['{mine}:problems'],
  num_validation: 2, test: ['{mine}:problems'], num_test: 2}}
grader: {{reward: '{mine}:reward'}}
executor: {{workers: 1, modules: [], tools: ['{mine}:km']}}
warmup: {{steps: 0}}
explore: {{problems: 2, guided_rollouts: 0, native_rollouts: 4}}
improve: {{microbatch_rows: 8, buckets: [128]}}
sampling: {{slots: 8, max_length: 128, prefill_rows: 8, prefill_buckets: [96]}}
mesh: {{data: 8}}
evaluation: {{start_problems: 0, final_problems: 0}}
run: {{iterations: 1, trackers: []}}
"""


def test_a_run_trains_on_all_three_and_notes_their_file(model: Path, tmp_path: Path) -> None:
    reward = REWARD.replace('problem["bonus"]', '(split_of(problem) == "train") / 2')
    mine = write(tmp_path, f"{DATA}{reward}{TOOL}\ndef split_of(p):\n    return p['problem'][:5]\n")
    config = tmp_path / "config.yaml"
    config.write_text(RUN.format(model=model, mine=mine), encoding="utf-8")
    run = tmp_path / "run"
    assert main.main(["train", str(config), "--out", str(run)]) == 0
    (file,) = (run / "episodes").glob("*.jsonl*")
    rows = [row for _, row in jsonl.read(file)]
    assert len(rows) == 2 * 4
    for row in rows:
        assert row["reward"] == 0.5 + num_response_tokens(row["segments"]) % 2 / 2
        assert "def km(city: str) -> float:" in row["segments"][0]["text"]
        assert row["question"].startswith("train: ")
    (metrics,) = read_rows(run / "metrics.jsonl")[1:]
    assert metrics["explore/reward"] == pytest.approx(sum(row["reward"] for row in rows) / 8)
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    assert json.loads((run / "manifest.json").read_text())["data"] == {str(mine): digest}
