"""What a command says before its work begins: no jax import, and arguments as people type them."""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from acim_jax import records
from acim_jax.cli import main
from acim_jax.cli.arguments import shared

#: Command lines that end before any work, and their exits.
LIGHT: list[tuple[list[str], int]] = [
    ([], 2),
    (["--help"], 0),
    (["--version"], 0),
    *(([name, "--help"], 0) for name in main.COMMANDS),
    *(([name, "--no-such-option"], 2) for name in main.COMMANDS),
    (["train", "nowhere.yaml"], 2),
    (["train", "broken.yaml"], 2),
    (["train", "--resume", "nowhere"], 2),
    (["train", "run.yaml", "--data.test", "[nowhere.jsonl]"], 2),
    (["train", "run.yaml", "--model.path", "nowhere"], 2),
    (["experiment", "nowhere.yaml"], 2),
    (["evaluate", "--model", "tiny", "--data", "nowhere.jsonl", "--out", "out"], 2),
    (["evaluate", "--model", "nowhere", "--data", "in.jsonl", "--out", "out"], 2),
    (["difficulty", "--model", "tiny", "nowhere", "--data", "in.jsonl", "--out", "o.jsonl"], 2),
    (["ask", "--model", "nowhere", "x"], 2),
    (["score", "--model", "tiny", "--input", "nowhere.jsonl", "--output", "out"], 2),
    (["export", "nowhere", "--out", "out"], 2),
    (["report", "nowhere", "--out", "out.html"], 2),
    (["execute", "--input", "in.jsonl", "--output", "out.jsonl", "--workers", "1"], 0),
    (["grade", "--input", "in.jsonl", "--output", "out.jsonl"], 0),
]

PROBE = """
import contextlib, io, json, os, sys
from acim_jax import records
from acim_jax.cli import main
from acim_jax.cli.arguments import shared
for line in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = main.main(line)
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([line, code, "jax" in sys.modules, said.getvalue()]))
"""


def test_what_needs_no_devices_does_not_import_jax(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("improve: {lr: fast}\n")
    (tmp_path / "run.yaml").write_text("seed: 1\n")
    record = {"id": 1, "code": "1", "problem": "1 + 1", "prediction": "2", "answer": "2"}
    (tmp_path / "in.jsonl").write_text(json.dumps(record) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps([line for line, _ in LIGHT]),
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line, code, jax) for line, code, jax, _ in results] == [
        (line, code, False) for line, code in LIGHT
    ]
    for line, code, _, said in results:
        if code == 0 and "--help" in line and line != ["--help"]:
            assert "example" in said, line
        if code == 2 and "nowhere" in " ".join(line):
            assert "nowhere" in said, line
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "broken.yaml", "in.jsonl", "out.jsonl", "run.yaml",
    ]  # fmt: skip


def parse(*arguments: str) -> argparse.Namespace:
    args = argparse.Namespace()
    assert main.parse(arguments, args) == arguments[0]
    return args


@pytest.mark.parametrize("name", main.COMMANDS)
def test_no_option_swallows_a_positional(name: str) -> None:
    actions = main.command_parser(name)._actions
    positional = [action for action in actions if not action.option_strings]
    greedy = [action for action in actions if action.option_strings and action.nargs in ("+", "*")]
    assert not (positional and greedy)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["report", "a", "--out", "x", "b"], {"runs": ["a", "b"], "out": "x"}),
        (["report", "a", "--out", "x", "b", "--title", "t", "c"], {"runs": ["a", "b", "c"]}),
        (["report", "--out", "x", "--", "-a", "b"], {"runs": ["-a", "b"], "out": "x"}),
        (["train", "--dry-run", "c", "--seed", "3", "--out", "x"], {"config": "c", "out": "x"}),
        (["experiment", "--seeds", "2", "f", "--resume"], {"file": "f", "seeds": 2}),
        (["export", "--step", "2", "m", "--out", "x"], {"model": "m", "step": 2, "out": "x"}),
        (["config", "--json", "explore"], {"section": "explore", "json": True}),
        (["ask", "--model", "m", "--", "-3 + 5?"], {"question": "-3 + 5?"}),
    ],
)  # fmt: skip
def test_positional_arguments_may_stand_on_both_sides_of_options(
    line: list[str], expected: dict[str, object]
) -> None:
    def text(value: object) -> object:
        return [str(one) for one in value] if isinstance(value, list) else str(value)

    args = vars(parse(*line))
    assert {name: text(args[name]) for name in expected} == {
        name: text(value) for name, value in expected.items()
    }


def test_the_usage_of_a_refusal_is_whole_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(SystemExit):
        parse("report", "a")
    said = re.sub("\x1b[^m]*m", "", capsys.readouterr().err)
    assert said.startswith("Usage: acim report [-h] --out FILE.html")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--markup", "name=X"], ["name=X"]),
        (["--markup=name=X"], ["name=X"]),
        (["--markup", "name=X,max_turns=3"], ["name=X", "max_turns=3"]),
        (["--markup", "name=X", "--markup", "max_turns=3"], ["name=X", "max_turns=3"]),
        (["--markup", 'body=A, b.,stop=["c","d"]'], ["body=A, b.", 'stop=["c","d"]']),
    ],
)  # fmt: skip
def test_a_question_after_options_is_the_question(options: list[str], expected: list[str]) -> None:
    args = parse("ask", "--model", "tiny", *options, "What is 2 + 2?")
    assert (args.question, args.markup) == ("What is 2 + 2?", expected)
    args = parse("ask", "What is 2 + 2?", "--modules", "sympy", *options, "--model", "tiny")
    assert (args.question, args.markup) == ("What is 2 + 2?", expected)
    assert vars(args)["executor.modules"] == ["sympy"]


@pytest.mark.parametrize(
    "data", [["--data", "a", "b"], ["--data", "a,b"], ["--data=a,b"], ["--data", "a", "--data=b"]]
)
@pytest.mark.parametrize(
    "decision",
    [
        ["--decision", "native", "code"],
        ["--decision=native,code"],
        ["--decision", "native", "--decision", "code"],
    ],
)
def test_several_values_side_by_side_comma_separated_or_repeated(
    data: list[str], decision: list[str]
) -> None:
    args = parse("evaluate", "--model", "tiny", *data, *decision, "--out", "o", "--map", "a=b,c=d")
    assert (args.data, args.decision) == (["a", "b"], ["native", "code"])
    assert (args.map, args.markup) == (["a=b", "c=d"], [])
    assert parse("evaluate", "--model", "tiny", "--data", "a", "--out", "o").decision == ["native"]


def test_a_wrong_choice_among_several_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("evaluate", "--model", "m", "--data", "a", "--out", "o", "--decision", "text,cod")
    assert "argument --decision: invalid choice: 'cod' (native, text, code)" in (
        capsys.readouterr().err
    )


def test_the_decisions_are_those_of_the_records() -> None:
    assert shared.GUIDES == records.GUIDES
