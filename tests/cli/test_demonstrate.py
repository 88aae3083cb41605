"""`acim demonstrate` on the embedded model, which needs no hints, and on one that knows nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from acim_jax.checkpoint import acim_yaml, model_names
from acim_jax.cli.main import main
from acim_jax.data import demonstrations
from acim_jax.improve import demonstrations as training
from tests.support import tiny_models
from tests.support.model_folders import read_rows

MODEL = ["--model", "tiny", "--markup", "text_hint=", "--markup", "code_hint="]
DATA = ["--data", "generated:arithmetic", "--limit", "12", "--samples", "2", "--slots", "2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, out of four batches of rollouts."""
    out = tmp_path_factory.mktemp("made") / "own.jsonl"
    assert main(["demonstrate", *MODEL, *DATA, "--out", str(out)]) == 0
    return out


def test_a_training_row_has_the_tokens_and_authors_of_the_rollout(made: Path):
    """Behind the prompt, which is the problem's own."""
    tokenizer = tiny_models.load_tokenizer()
    markup = acim_yaml.read_markup(model_names.EMBEDDED["tiny"])
    assert markup is not None
    shown = demonstrations.load(str(made), markup=markup)
    decisions = [one.decision for one in shown]
    assert decisions.count("text") == decisions.count("code") >= 4
    episodes = {
        f"{row['problem_id']}:{row['guide']}:{row['sample']}": row
        for row in read_rows(made.with_name("own.jsonl.rollouts") / "episodes.jsonl")
    }
    weight = {"FORCED": 0.25, "MODEL": 1.0, "OUTPUT": 0.0}
    for one in shown:
        episode = episodes[one.id.removeprefix("generated:arithmetic:")]
        assert episode["reward"] == 1 and episode["decision"] == one.decision
        behind = [s for s in episode["segments"] if s["author"] != "PROMPT"]
        row = training.encode([one], tokenizer, markup)[0].row(0.25)
        prompt = tokenizer.prompt_ids(one.question, markup)
        np.testing.assert_array_equal(row.token_ids[: len(prompt)], prompt)
        assert row.token_ids[len(prompt) :].tolist() == [t for s in behind for t in s["token_ids"]]
        assert row.weights[len(prompt) :].tolist() == [
            weight[s["author"]] for s in behind for _ in s["token_ids"]
        ]


def test_a_stopped_one_goes_on_and_gives_the_same_file(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rollouts = shutil.copytree(
        made.with_name("own.jsonl.rollouts"), tmp_path / "own.jsonl.rollouts"
    )
    lines = (rollouts / "episodes.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (rollouts / "episodes.jsonl").write_text("".join(lines[:20]), encoding="utf-8")
    command = ["demonstrate", *MODEL, *DATA, "--out", str(tmp_path / "own.jsonl"), "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (tmp_path / "own.jsonl").read_bytes() == made.read_bytes()
    for decision in ("text", "code"):
        counts = told["decisions"][decision]
        assert counts.pop("rollouts") == 24 == sum(counts.values())
        assert counts["kept"] == len(read_rows(made)) / 2


def test_no_right_answer_is_said_with_counts_and_leaves_no_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "own.jsonl"
    assert main(["demonstrate", "--model", str(model), "--data", "generated:arithmetic",
                 "--limit", "3", "--samples", "1", "--max-length", "96",
                 "--out", str(out)]) == 1  # fmt: skip
    error = capsys.readouterr().err
    assert "of 3 text rollouts 3 " in error and "of 3 code rollouts 3 " in error
    assert "more --samples" in error and not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "own.txt"], "name a .jsonl or .jsonl.gz file"),
        (["--samples", "0"], "--samples must be at least 1"),
        (["--temperature", "0"], "would make equal rollouts"),
    ],
)
def test_bad_options(options: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(["demonstrate", *MODEL, *DATA, "--out", "own.jsonl", *options]) == 2
    assert message in capsys.readouterr().err
