"""`acim prefixes` on the embedded model, and what it writes."""

import json
import shutil
from pathlib import Path

import pytest

from acim_jax.checkpoint import acim_yaml, model_names
from acim_jax.cli.main import main
from acim_jax.markup import Markup

DATA = ["--data", "generated:arithmetic", "--limit", "4", "--samples", "3", "--tokens", "12"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The embedded model as a folder of the user's, with prefixes that it never writes."""
    copy = tmp_path / "model"
    shutil.copytree(model_names.EMBEDDED["tiny"], copy)
    markup = acim_yaml.read_markup(copy)
    assert markup is not None
    fields = {"text_prefixes": ("Hmm.\n",), "code_prefixes": ("Well.\n```python\n",)}
    acim_yaml.write_markup(copy, Markup(**{**vars(markup), **fields}))
    return copy


def test_prefixes_that_the_model_never_writes_are_replaced(folder: Path, capsys):
    assert main(["prefixes", "--model", str(folder), *DATA, "--write", "--json"]) == 0
    out, shown = capsys.readouterr()
    result = json.loads(out)
    assert result["problems"] == 4 and result["mass"]["median"] < 1e-6
    (now,) = result["prefixes"]["code"]
    assert now["prefix"] == "Well.\n```python\n"
    assert sum(t["logprob"] for t in now["tokens"]) == pytest.approx(now["logprob"], rel=1e-5)
    assert "".join(t["text"] for t in now["tokens"]) == now["prefix"]
    proposed = result["proposed"]
    assert proposed["mass"]["median"] > 0.5
    written = acim_yaml.read_markup(folder)
    assert written is not None
    for decision in ("text", "code"):
        listed = tuple(one["prefix"] for one in proposed["prefixes"][decision])
        assert written.prefixes(decision) == listed
    assert written.code_prefixes[0].endswith("```python\n")
    assert "Proposed" in shown
    shares = [one["share"] for one in result["openings"]["own"]]
    assert sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)


def test_the_embedded_model_is_not_written_to(capsys):
    assert main(["prefixes", "--model", "tiny", *DATA, "--write"]) == 2
    assert "--write needs a model folder of your own" in capsys.readouterr().err
