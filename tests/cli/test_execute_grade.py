"""`acim execute` and `acim grade` as CLI.md fixes them: fields, order, statuses, exit codes."""

import json
import re
from pathlib import Path

import pytest

from acim_jax.cli import main


def acim(*args: object) -> int:
    """Runs a command in this process and returns its exit code."""
    return main.main([str(arg) for arg in args])


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_execute_writes_one_row_per_program_in_order(tmp_path: Path) -> None:
    programs: list[dict[str, object]] = [
        {"id": "slow", "code": "import time\ntime.sleep(0.3)\nprint(6 * 7)"},
        {"id": 2, "code": "1/0"},
        {"id": "late", "code": "import time\ntime.sleep(60)", "timeout": 0.2},
        {"id": "slow", "code": "x = 20\nx + 1"},
        {"id": "big", "code": "print('a' * 1000)"},
        {"id": "far", "code": "import numpy"},
    ]
    source, target = write(tmp_path / "in.jsonl", programs), tmp_path / "out.jsonl"
    options = ("--workers", 2, "--timeout", 30, "--output-chars", 300, "--modules", "mpmath")
    assert acim("execute", "--input", source, "--output", target, *options) == 0
    rows = read(target)
    assert [row["id"] for row in rows] == ["slow", 2, "late", "slow", "big", "far"]
    statuses = [row["status"] for row in rows]
    assert statuses == ["ok", "error", "timeout", "ok", "ok", "error"]
    assert (rows[0]["stdout"], rows[3]["stdout"]) == ("42\n", "21\n")
    assert str(rows[1]["stderr"]).endswith("ZeroDivisionError: division by zero\n")
    assert [row["truncated"] for row in rows] == [False] * 4 + [True, False]
    assert all(isinstance(row["wall_s"], float) for row in rows)
    assert list(rows[0]) == ["id", "status", "stdout", "stderr", "truncated", "wall_s"]


def test_an_executor_that_cannot_start_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "half_installed.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = write(tmp_path / "in.jsonl", [{"id": 1, "code": "1"}])
    target = tmp_path / "out.jsonl"
    options = ("--modules", "half_installed", "--workers", 1)
    assert acim("execute", "--input", source, "--output", target, *options) == 1
    assert "nothing_of_this_name" in capsys.readouterr().err
    assert target.read_text() == ""


def test_grade_writes_verdict_and_method(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": "1", "prediction": r"so \boxed{\frac{1}{2}}", "answer": "0.5"},
        {"id": "2", "prediction": r"\boxed{3}", "answer": "4"},
        {"id": "3", "prediction": r"\boxed{\sqrt{20}}", "answer": r"2\sqrt{5}"},
        {"id": "4", "prediction": "I add and add and add for ever", "answer": "4"},
        {"id": "5", "prediction": "The answer is 12.", "answer": 12},
        {"id": "6", "prediction": r"\boxed{2/3}", "answer": "0.6666667"},
        {"id": "7", "prediction": "\\boxed{5\ud800}", "answer": "5"},
    ]
    source, target = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert acim("grade", "--input", source, "--output", target) == 0
    grades = read(target)
    assert [(row["id"], row["correct"], row["method"]) for row in grades] == [
        ("1", True, "exact"),
        ("2", False, "exact"),
        ("3", True, "symbolic"),
        ("4", False, "none"),
        ("5", True, "exact"),
        ("6", True, "numeric"),
        ("7", False, "symbolic"),
    ]
    assert [row["extracted"] for row in grades[:5]] == [
        r"\frac{1}{2}",
        "3",
        r"\sqrt{20}",
        None,
        "12",
    ]
    assert list(grades[0]) == ["id", "correct", "extracted", "method", "wall_s"]


def test_grade_options_decide_where_graders_differ(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": 1, "prediction": r"\boxed{5\%}", "answer": "5"},
        {"id": 2, "prediction": "The answer is 7.", "answer": "7"},
        {"id": 3, "prediction": r"\boxed{\frac{2}{3}}", "answer": "0.67"},
    ]
    source, target = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    verdicts: list[list[object]] = []
    for options in ((), ("--percent", "value", "--unboxed", "never", "--rounding", "digits")):
        assert acim("grade", "--input", source, "--output", target, *options) == 0
        verdicts.append([row["correct"] for row in read(target)])
    assert verdicts == [[True, True, False], [False, False, True]]


GOOD = '{"id": "a", "code": "1", "prediction": "5", "answer": "5"}\n'
BAD_ROWS = [
    ("execute", '{"id": 1, "code"', r"in\.jsonl:2: not a JSON object"),
    ("execute", '{"id": 1}', r'in\.jsonl:2: field "code" must be text, it is missing'),
    ("execute", '{"code": "1"}', r'in\.jsonl:2: field "id" is missing'),
    ("execute", r'{"id": "\ud800", "code": "1"}', r'in\.jsonl:2: field "id" .* half a surrogate'),
    ("execute", '{"id": 1, "code": 5}', r'in\.jsonl:2: field "code" must be text, got int'),
    ("execute", '{"id": 1, "code": "1", "timeout": 0}', r'in\.jsonl:2: field "timeout"'),
    ("execute", '{"id": 1, "code": "1", "timeout": true}', r'in\.jsonl:2: field "timeout"'),
    ("grade", "[1]", r"in\.jsonl:2: needed a JSON object, got list"),
    ("grade", '{"id": 1, "answer": "5"}', r'in\.jsonl:2: field "prediction" must be text'),
    ("grade", '{"id": 1, "prediction": "5"}', r'in\.jsonl:2: field "answer" must be text'),
]


@pytest.mark.parametrize(("command", "line", "message"), BAD_ROWS)
def test_a_malformed_row_is_refused_before_any_work(
    tmp_path: Path, command: str, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(GOOD + line + "\n")
    assert acim(command, "--input", source, "--output", target) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not target.exists()


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("execute", ("--workers", 0), "--workers: must be at least 1, got the number 0"),
        (
            "execute",
            ("--timeout", "nan"),
            "--timeout: timeout_s: expected a number, got",
        ),
        ("execute", ("--modules", "no_such_module"), "'no_such_module', which is not installed"),
        ("grade", ("--timeout", -1), "--timeout: timeout_s: must be above 0, got the number -1"),
        ("grade", ("--output", "nowhere/out.jsonl"), "the folder nowhere does not exist"),
        ("execute", ("--input", "nowhere.jsonl"), r"nowhere\.jsonl"),
    ],
)
def test_a_bad_option_is_refused(
    tmp_path: Path,
    command: str,
    options: tuple[object, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(GOOD)
    assert acim(command, "--input", source, "--output", tmp_path / "out.jsonl", *options) == 2
    assert re.search(message, capsys.readouterr().err)
