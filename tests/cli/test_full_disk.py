"""A full disk is nobody's bad input: exit 1 and one line that names the file and what goes on."""

import errno
import json
import logging
import os
from pathlib import Path

import pytest
from orbax.checkpoint import v1 as ocp

from acim_jax.cli import main
from tests.cli.test_train import CONFIG

FULL = OSError(errno.ENOSPC, "No space left on device")


def full(*_: object) -> None:
    raise FULL


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A disk on which nothing more can be written; `undo` makes room."""
    monkeypatch.setattr(os, "fsync", full)
    return monkeypatch


ROWS = [
    {"id": i, "code": "print(6 * 7)", "prediction": "\\boxed{42}", "answer": "42", "text": "a b"}
    for i in range(3)
]


@pytest.mark.parametrize("command", ["execute", "grade", "score"])
def test_results_that_cannot_be_written_leave_the_old_ones(
    command: str,
    model: Path,
    tmp_path: Path,
    disk: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given, made = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    made.write_text("old\n")
    more = ["--model", str(model)] if command == "score" else []
    assert main.main([command, "--input", str(given), "--output", str(made), *more]) == 1
    said = f"acim: {made}: no space left on device; make room, then start again\n"
    assert capsys.readouterr().err == said
    assert (made.read_text(), len(os.listdir(tmp_path))) == ("old\n", 2)


def test_an_export_names_its_folder_and_leaves_nothing(
    model: Path, tmp_path: Path, disk: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main.main(["export", str(model), "--out", str(out)]) == 1
    said = f"acim: {out}: no space left on device; make room, then start again\n"
    assert capsys.readouterr().err == said
    assert not os.listdir(tmp_path)


def test_an_evaluation_names_the_command_that_goes_on(
    model: Path, tmp_path: Path, disk: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "a set.jsonl", tmp_path / "out"
    data.write_text(json.dumps({"id": 1, "problem": "1 + 1", "answer": "2"}) + "\n")
    line = ["evaluate", "--model", str(model), "--data", str(data), "--out", str(out),
            "--max-length", "32"]  # fmt: skip
    assert main.main(line) == 1
    command = f"acim evaluate --model {model} --data '{data}' --out {out} --max-length 32"
    said = f"no space left on device; make room, then go on with: {command}"
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"acim: {out / 'evaluation.json'}: {said}"
    disk.undo()
    assert main.main(line) == 0


def test_a_checkpoint_that_does_not_fit_ends_a_run_that_goes_on(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*_: object, **__: object) -> None:
        # As orbax reports what tensorstore says: once a thread, then raised.
        error = ValueError(
            'RESOURCE_EXHAUSTED: Failed writing: "r/checkpoints/0.orbax-checkpoint-tmp/d/7f": '
            "Failed to write 4063232 bytes to file 27: No space left on device [os_error_code='28']"
        )
        logging.getLogger("absl").error("thread raised an exception", exc_info=error)
        raise error

    config, out = tmp_path / "c.yaml", tmp_path / "r"
    config.write_text(CONFIG.format(model=model))
    monkeypatch.setattr(ocp.training.Checkpointer, "save_checkpointables", fails)
    assert main.main(["train", str(config), "--out", str(out)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    go_on = f"make room, then go on with: acim train --resume {out}"
    assert last == f"acim: {out / 'checkpoints' / '0'}: no space left on device; {go_on}"
    assert "thread raised" not in caplog.text
    monkeypatch.undo()
    assert main.main(["train", "--resume", str(out)]) == 0


def test_a_run_that_was_not_made_is_started_again(
    model: Path, tmp_path: Path, disk: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / "c.yaml", tmp_path / "r"
    config.write_text(CONFIG.format(model=model))
    assert main.main(["train", str(config), "--out", str(out)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"make room, then go on with: acim train {config} --out {out}")
    disk.undo()
    assert main.main(["train", str(config), "--out", str(out)]) == 0
