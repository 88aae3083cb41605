"""The list of all fields, as data, as docs/config.md and as `acim config`."""

import json
from pathlib import Path

import pytest

from acim_jax.cli import main
from acim_jax.config import describe, schema
from acim_jax.config.run import RunConfig

ROOT = Path(__file__).parents[2]


def test_the_document_is_up_to_date() -> None:
    """Write it anew with `python -m acim_jax.config.describe > docs/config.md`."""
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == describe.markdown()


def test_every_field_has_its_default_and_a_text() -> None:
    listed = {one.path: one for one in describe.fields()}
    plain = schema.plain(RunConfig())
    assert isinstance(plain, dict)
    for name, value in plain.items():
        inner = value if isinstance(value, dict) else None
        for field, default in ({None: value} if inner is None else inner).items():
            one = listed[name if field is None else f"{name}.{field}"]
            assert (one.default, one.text[-1:]) == (default, ".")
    assert listed["lora.rank"].default == 8
    assert listed["improve.lr"][2:] == (
        "number > 0", 1e-6, "Learning rate of the first iteration; falls linearly to lr · "
        "final_lr_fraction.",
    )  # fmt: skip
    assert listed["improve.buckets"].type == "list of whole numbers ≥ 1"
    assert listed["sampling.spare"].type == "whole number ≥ 0 or null"


def test_the_command_prints_all_or_one_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["config", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert every["method"]["type"] == "one of em, rl, sft"
    assert main.main(["config", "explore", "--json"]) == 0
    explore = json.loads(capsys.readouterr().out)
    assert explore == {path: one for path, one in every.items() if path.startswith("explore.")}
    assert explore["explore.beta"]["default"] == 0.1
    assert main.main(["config", "explore"]) == 0
    said = capsys.readouterr().err
    assert (
        "explore.beta = 0.1  number > 0\n    β of the strategy `regularised`, and τ of `cost`.\n"
        in said
    )
    assert "improve." not in said
    assert main.main(["config", "explor"]) == 2
    assert 'did you mean "explore"?' in capsys.readouterr().err
