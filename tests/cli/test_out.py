"""`--out` and `--output` where nothing can be made: exit 2 and one line, before any work."""

from pathlib import Path

import pytest

from acim_jax.cli import main

#: Command lines in a folder that holds their input; their last argument is given.
LINES = {
    "train": ["train", "run.yaml", "--out"],
    "train, dry": ["train", "run.yaml", "--dry-run", "--out"],
    "experiment": ["experiment", "experiment.yaml", "--out"],
    "export": ["export", "tiny", "--out"],
    "export, adapter": ["export", "tiny", "--adapter", "--out"],
    "evaluate": ["evaluate", "--model", "tiny", "--data", "generated:arithmetic", "--out"],
    "report": ["report", ".", "--out"],
    "score": ["score", "--model", "tiny", "--input", "in.jsonl", "--output"],
    "execute": ["execute", "--input", "in.jsonl", "--output"],
    "grade": ["grade", "--input", "in.jsonl", "--output"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "run.yaml").write_text("seed: 1\n")
    arms = "seeds: [0]\narms:\n  em: {label: EM}\n"
    (tmp_path / "experiment.yaml").write_text(f"name: one\n{arms}")
    (tmp_path / "in.jsonl").write_text("")
    (tmp_path / "file").write_text("kept")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("place", ["file/x", "file/x/y", "/proc/x", "/dev/null", "/dev/null/x"])
def test_a_place_where_nothing_can_be_made_is_refused(
    name: str, place: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    assert main.main([*LINES[name], place]) == 2
    said = capsys.readouterr().err
    assert said.startswith("acim: ") and said.count("\n") == 1 and place in said
    assert sorted(folder.iterdir()) == before
    assert (folder / "file").read_text() == "kept"


def test_a_default_folder_that_cannot_be_made_is_refused_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "runs").write_text("")
    for line in (LINES["train"], LINES["train, dry"], LINES["experiment"]):
        assert main.main(line[:-1]) == 2
        assert "runs is a file" in capsys.readouterr().err


def test_a_dry_run_refuses_the_folder_that_the_run_would(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "thesis").mkdir()
    (folder / "thesis" / "thesis.tex").write_text("years of work")
    assert main.main([*LINES["train, dry"], "thesis"]) == 2
    assert "holds thesis.tex" in capsys.readouterr().err
