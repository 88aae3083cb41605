"""`acim difficulty` on the embedded model beside a random one, which solves nothing."""

import json
import shutil
from pathlib import Path

import pytest

from acim_jax.cli import options
from acim_jax.cli.main import main
from acim_jax.data import problems as problem_files
from acim_jax.evaluation import rollouts
from tests.support.model_folders import read_rows, write_rows

LEVELS = """
easy: {tiny: 1}
2: {large: 0, length: "[3, 9]"}
3: {large: "(0, 1)", share: 0}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Problems of which the embedded model solves some, with fields that are not ours."""
    made = problem_files.load("generated:arithmetic", split="train", limit=6)
    return write_rows(
        tmp_path_factory.mktemp("data") / "problems.jsonl",
        [
            {"id": p.id, "problem": p.question, "answer": p.answer, "subject": p.subject,
             "length": i, "tags": ["a", None], "none": None}
            for i, p in enumerate(made)
        ],
    )  # fmt: skip


def difficulty(data: Path, out: Path, *more: str) -> int:
    return main(["difficulty", "--data", str(data), "--samples", "2", "--slots", "4",
                 "--max-length", "160", "--out", str(out), *more])  # fmt: skip


def folder_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.rollouts")


@pytest.fixture(scope="module")
def models(model: Path) -> tuple[str, ...]:
    return ("--model", str(model), "tiny", "--roles", f"small={model}", "large=tiny")


@pytest.fixture(scope="module")
def made(data: Path, models: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "levelled.jsonl"
    assert difficulty(data, out, *models) == 0
    return out


def test_rows_keep_their_fields_and_get_rates_of_their_episodes(data: Path, made: Path) -> None:
    rows, given = read_rows(made), read_rows(data)
    assert [row["id"] for row in rows] == [row["id"] for row in given]
    for row, before in zip(rows, given, strict=True):
        assert {name: row[name] for name in before} == before
        for name in ("random", "tiny"):
            episodes = read_rows(
                made.with_name("levelled.jsonl.rollouts") / name / "episodes.jsonl"
            )
            rewards = [e["reward"] for e in episodes if e["problem_id"] == row["id"]]
            assert row[f"samples/{name}"] == len(rewards) == 2
            assert row[f"pass_rate/{name}"] == sum(reward == 1 for reward in rewards) / 2
        rate = row["pass_rate/tiny"]
        # The random model solves nothing: no level 1. Without the role mid there is no level 2.
        assert row["levels"] == ([3] if 0 < rate < 1 else row["levels"] if rate else [])
    rates = [row["pass_rate/tiny"] for row in rows]
    assert min(rates) == 0 and max(rates) == 1
    assert {row["pass_rate/random"] for row in rows} == {0}


def test_a_stopped_one_goes_on_and_gives_the_same_file(
    data: Path, models: tuple[str, ...], made: Path, tmp_path: Path
) -> None:
    out = tmp_path / made.name
    folder = shutil.copytree(folder_of(made), folder_of(out))
    shutil.rmtree(folder / "tiny")
    (folder / "random" / "results.json").unlink()
    assert difficulty(data, out, *models) == 0
    assert out.read_bytes() == made.read_bytes()


def test_other_levels_make_no_rollouts(
    data: Path, models: tuple[str, ...], made: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """With the models, from their folders; with --relabel, from the columns alone."""
    file = tmp_path / "levels.yaml"
    file.write_text(LEVELS)
    monkeypatch.setattr(rollouts, "run", None)
    again = tmp_path / made.name
    shutil.copytree(folder_of(made), folder_of(again))
    chosen = ("--levels", str(file), "--unsolved", "keep", "--json")
    assert difficulty(data, again, *models, *chosen) == 0
    told = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(options, "open_model", None)
    other = tmp_path / "other.jsonl"
    assert difficulty(made, other, "--relabel", "--roles", "large=tiny", *chosen) == 0
    assert other.read_bytes() == again.read_bytes()
    for i, row in enumerate(read_rows(other)):
        easy = ["easy"] if row["pass_rate/tiny"] == 1 else []
        assert row["levels"] == easy + ([2] if row["pass_rate/tiny"] == 0 and i >= 3 else [])
    relabelled = json.loads(capsys.readouterr().out)
    assert relabelled["levels"] == told["levels"]
    rates = [row["pass_rate/tiny"] for row in read_rows(made)]
    assert told["models"]["tiny"] == {
        "pass_rate": pytest.approx(sum(rates) / 6),
        "never": rates.count(0), "sometimes": rates.count(0.5), "always": rates.count(1),
    }  # fmt: skip
    assert (told["strongest"], told["unsolved"]) == ("tiny", rates.count(0))


def test_problems_that_nobody_solves_can_be_left_out(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "less.jsonl"
    assert difficulty(made, out, "--relabel", "--unsolved", "discard") == 0
    # In the order of the columns the random model is small and tiny mid; the better one counts.
    wanted = [row["id"] for row in read_rows(made) if row["pass_rate/tiny"] > 0]
    assert [row["id"] for row in read_rows(out)] == wanted
    assert all(row["levels"] == [2] for row in read_rows(out))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "needs --model M"),
        (["--model", "tiny", "--relabel"], "and not both"),
        (["--model", "./nowhere"], "No model at './nowhere'"),
        (["--model", "tiny", "owner/tiny"], "two are equal"),
        (["--model", "tiny", "--roles", "small=7b"], "small names '7b', which has no column"),
        (["--model", "tiny", "--temperature", "0"], "would make equal rollouts"),
        (["--model", "tiny", "--levels", "levels.yaml"], "level 2 looks at large"),
        (["--model", "tiny", "--levels", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--model", "tiny", "--data", "copy.jsonl"], "would hold it twice"),
        (["--model", "tiny", "--out", "x.txt"], "name a .jsonl or .jsonl.gz file"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], more: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "open_model", None)
    Path("levels.yaml").write_text("2: {large: 0}\n")
    shutil.copy(data, "copy.jsonl")
    before = sorted(tmp_path.iterdir())
    assert difficulty(data, Path("out.jsonl"), *more) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
