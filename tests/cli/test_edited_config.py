"""`acim train --resume` after config.yaml was edited: named, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from acim_jax.cli import main
from tests.cli.test_train import CONFIG


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edited")
    (folder / "c.yaml").write_text(CONFIG.format(model=model))
    assert main.main(["train", str(folder / "c.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def edit(run: Path, dotted: str, value: object) -> str:
    """Sets a field of the run's config; the text that stood there."""
    before = (run / "config.yaml").read_text()
    document = yaml.safe_load(before)
    *sections, field = dotted.split(".")
    at: dict[str, Any] = document
    for section in sections:
        at = at[section]
    at[field] = value
    (run / "config.yaml").write_text(yaml.safe_dump(document))
    return before


def changes(run: Path) -> list[list[str]]:
    return [one["changes"] for one in json.loads((run / "manifest.json").read_text())["resumed"]]


def test_an_edit_is_named_in_the_log_and_in_the_manifest(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = edit(run, "improve.lr", 0.0001)
    old = yaml.safe_load(before)["improve"]["lr"]
    assert main.main(["train", "--resume", str(run)]) == 0
    change = f"config improve.lr was {old}, is 0.0001"
    assert changes(run)[-1] == [change]
    assert f"{run}: {change}; numbers may differ from here on" in caplog.text
    (run / "config.yaml").write_text(before)
    assert main.main(["train", "--resume", str(run)]) == 0
    assert changes(run)[-1] == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("seed", 7, "seed was 0, is 7"),
        ("data.num_train", 8, "data.num_train was 1, is 8"),
        ("data.test", ["nowhere.jsonl"], 'is ["nowhere.jsonl"]'),
        ("model.path", "nowhere", 'is "nowhere"'),
        ("model.init", "random", 'model.init was "pretrained", is "random"'),
        ("model.markup", {"max_turns": 1}, 'model.markup was {}, is {"max_turns": 1}'),
        ("lora", {"rank": 4}, 'lora was null, is {"rank": 4'),
        ("method", "em", 'method was "sft", is "em"'),
    ],
)
def test_what_the_past_stands_on_is_not_edited(
    run: Path, capsys: pytest.CaptureFixture[str], field: str, value: object, said: str
) -> None:
    resumptions = len(changes(run))
    before = edit(run, field, value)
    assert main.main(["train", "--resume", str(run)]) == 2
    (run / "config.yaml").write_text(before)
    printed = capsys.readouterr().err
    assert printed.startswith(f"acim: {run / 'config.yaml'}: ") and printed.count("\n") == 1
    assert said in printed and "put back what was there, or start a new run" in printed
    assert len(changes(run)) == resumptions
