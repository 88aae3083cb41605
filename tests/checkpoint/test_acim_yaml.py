"""acim.yaml, written and read, and refused with file and field."""

import dataclasses
from pathlib import Path

import pytest

from acim_jax.checkpoint import acim_yaml
from acim_jax.markup import Markup


def test_round_trip_keeps_every_character(tmp_path: Path):
    markup = Markup(
        template="chat",
        text_prefixes=("Let me think.\n", "  é: 'x' # no\n\n"),
        code_prefixes=("```python\n",),
        output_open="\n<out>\n",
        output_close="\t</out>",
        max_turns=4,
        stop=("<|end|>",),
    )
    # What a run says of its tools is no part of it.
    acim_yaml.write_markup(tmp_path, dataclasses.replace(markup, functions=("{}",)))
    assert acim_yaml.read_markup(tmp_path) == markup


def test_fields_left_out_keep_their_default(tmp_path: Path):
    assert acim_yaml.read_markup(tmp_path) is None
    (tmp_path / "acim.yaml").write_text("max_turns: 7\ntext_prefixes: ['So ']\n")
    assert acim_yaml.read_markup(tmp_path) == Markup(max_turns=7, text_prefixes=("So ",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_turn: 7", r"acim\.yaml: unknown field 'max_turn'; the nearest known is 'max_turns'"),
        ("max_turns: many", r"acim\.yaml: max_turns: .*got 'many'"),
        ("stop: [1, 2]", r"acim\.yaml: stop\.0: .*got 1"),
        ("- a", r"must hold the fields of a markup"),
        ("stop: [", r"acim\.yaml is not valid YAML: (.|\n)*line 1"),
        ("template: none", r"acim\.yaml: (.|\n)*must be 'chat', 'plain' or contain"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str):
    (tmp_path / "acim.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        acim_yaml.read_markup(tmp_path)
