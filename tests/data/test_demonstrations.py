import json
from pathlib import Path

import pytest

from acim_jax.data import demonstrations, generated
from acim_jax.markup import Markup
from acim_jax.records import Demonstration

MARKUP = Markup(text_prefixes=("Think.\n",), code_prefixes=("Code.\n```python\n",))
CODE = "Code.\n```python\nprint(6*7)\n```\n```output\n42\n```\n\\boxed{42}"


def lines(path: Path, *records: object) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def test_generated_source_is_the_generator() -> None:
    loaded = demonstrations.load("generated:arithmetic", markup=MARKUP, limit=6, seed=2)
    assert loaded == list(generated.demonstrations(6, seed=2, markup=MARKUP))
    assert [one.decision for one in loaded] == ["text", "code"] * 3


def test_both_kinds_of_records(tmp_path: Path) -> None:
    source = lines(
        tmp_path / "d.jsonl",
        {"id": "a", "problem": "6*7?", "response": CODE},
        {
            "id": "b",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "1+1?"},
                {"role": "assistant", "content": "3"},
                {"role": "user", "content": "Sure?"},
                {"role": "assistant", "content": "Think.\n\\boxed{2}"},
            ],
        },
    )
    assert demonstrations.load(source, markup=MARKUP) == [
        Demonstration("a", "6*7?", CODE, "code"),
        Demonstration("b", "Sure?", "Think.\n\\boxed{2}", "text"),
    ]
    assert len(demonstrations.load(source, markup=MARKUP, limit=1)) == 1


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"id": "b", "problem": "x"}, "the field 'response' is missing"),
        ({"id": "b", "problem": "x", "response": 5}, "response must be a string, got int"),
        ({"id": "b", "problem": "x", "response": "\n"}, "the response is empty"),
        ({"problem": "x", "response": "y"}, "the field 'id' is missing"),
        ({"id": "a", "problem": "x", "response": "y"}, "id 'a' was used in line 1"),
        ({"id": "b", "messages": "hello"}, "messages must be a list, got str"),
        ({"id": "b", "messages": ["hi"]}, "messages[0] must be an object, got str"),
        ({"id": "b", "messages": [{"role": "user"}]}, "messages[0]: the field 'content'"),
        (
            {"id": "b", "messages": [{"role": "assistant", "content": "y"}]},
            "messages must hold one by the user",
        ),
        ({"id": "b", "messages": [], "problem": "x"}, "not both"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, record: dict[str, object], part: str) -> None:
    good = {"id": "a", "problem": "6*7?", "response": CODE}
    source = lines(tmp_path / "d.jsonl", good, record)
    with pytest.raises(ValueError) as raised:
        demonstrations.load(source, markup=MARKUP)
    assert str(raised.value).startswith(f"{source}:2: ") and part in str(raised.value)


def test_bad_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="has no end"):
        demonstrations.load("generated:arithmetic", markup=MARKUP)
    with pytest.raises(ValueError, match="generated demonstrations are arithmetic"):
        demonstrations.load("generated:algebra", markup=MARKUP, limit=1)
