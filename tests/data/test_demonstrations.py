import json
from pathlib import Path

import pytest

from acim_jax.data import demonstrations, generated
from acim_jax.markup import Markup, outputs, templates
from acim_jax.records import Author, Demonstration

MARKUP = Markup(text_prefixes=("Think.\n",), code_prefixes=("Code.\n```python\n",))
CODE = "Code.\n```python\nprint(6*7)\n```\n```output\n42\n```\n\\boxed{42}"


OUTPUT = "\n```output\n12\n```\n"
OTHER_FENCE = "Code.\n```py\nprint(3*4)\n```" + OUTPUT + "\\boxed{12}"


def lines(path: Path, *records: object) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def loaded(source: str) -> list[Demonstration]:
    return sorted(demonstrations.load(source, markup=MARKUP), key=lambda one: one.id)


def test_generated_source_is_the_generator() -> None:
    made = demonstrations.load("generated:arithmetic", markup=MARKUP, limit=6, seed=2)
    assert made == list(generated.demonstrations(6, seed=2, markup=MARKUP))
    assert [one.decision for one in made] == ["text", "code"] * 3


def test_a_limit_draws_from_the_whole_file(tmp_path: Path) -> None:
    """By seed; a file sorted by decision gives both."""
    source = lines(
        tmp_path / "d.jsonl",
        *({"id": f"t{i}", "problem": "6*7?", "response": "\\boxed{42}"} for i in range(50)),
        *({"id": f"c{i}", "problem": "6*7?", "response": CODE} for i in range(50)),
    )
    load = lambda seed: demonstrations.load(source, markup=MARKUP, limit=20, seed=seed)  # noqa: E731
    for seed in range(5):
        assert len({one.id for one in load(seed)}) == 20
        assert 2 < sum(one.decision == "code" for one in load(seed)) < 18
    assert load(1) == load(1) and {one.id for one in load(1)} != {one.id for one in load(2)}


def test_both_kinds_of_records(tmp_path: Path) -> None:
    source = lines(
        tmp_path / "d.jsonl",
        {"id": "a", "problem": "6*7?", "response": CODE},
        {
            "id": "b",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "1+1?"},
                {"role": "assistant", "content": "Think.\n\\boxed{2}"},
            ],
        },
    )
    assert loaded(source) == [
        Demonstration("a", "6*7?", CODE, "code"),
        Demonstration("b", "1+1?", "Think.\n\\boxed{2}", "text"),
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
        ({"id": "b", "messages": [], "response": "x"}, "not both"),
        ({"id": "b", "messages": []}, "messages must hold one by the user"),
        ({"id": "b", "problem": " ", "response": "y"}, "id 'b': the problem is empty"),
        ({"id": "b", "problem": "x", "response": OTHER_FENCE}, "id 'b': an interpreter's output"),
        ({"id": "b", "problem": "x", "response": OUTPUT + "12"}, "id 'b': an interpreter's output"),
        ({"id": "b", "problem": "x", "response": CODE + OUTPUT}, "id 'b': an interpreter's output"),
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


def test_carriage_returns_change_nothing(tmp_path: Path) -> None:
    """Whatever ends the lines of a response, an interpreter's output is no target."""
    crlf = CODE.replace("\n", "\r\n")
    mixed = CODE.replace("\n```\n\\", "\n```\r\n\\")
    source = lines(
        tmp_path / "d.jsonl",
        {"id": "a", "problem": "6*7?", "response": crlf},
        {"id": "b", "problem": "6*7?", "response": mixed},
        {"id": "c", "messages": turns("6*7?", crlf)},
        {"id": "d", "problem": "6*7?", "response": "Think.\r\n\\boxed{42}"},
    )
    found = loaded(source)
    assert found[:3] == [Demonstration(name, "6*7?", CODE, "code") for name in "abc"]
    assert found[3] == Demonstration("d", "6*7?", "Think.\n\\boxed{42}", "text")
    for response in (crlf, mixed):
        pieces = outputs.split_by_author(response, MARKUP)
        assert "".join(text for _, text in pieces) == response
        assert [text.strip() for author, text in pieces if author is Author.OUTPUT] == [
            response[response.index("```output") : response.index("\\boxed")].strip()
        ]


def test_a_program_in_another_fence_shows_text(tmp_path: Path) -> None:
    """`acim train --dry-run` counts decisions, so that such rows are seen."""
    response = "```Python\nprint(3*4)\n```\n\\boxed{12}"
    source = lines(tmp_path / "d.jsonl", {"id": "a", "problem": "3*4?", "response": response},
                   {"id": "b", "problem": "6*7?", "response": CODE})  # fmt: skip
    assert demonstrations.decisions(loaded(source)) == "1 text, 1 code"


def turns(*contents: str, tool: str = "user") -> list[dict[str, str]]:
    """The first by the user, then the assistant and the role `tool` in turn."""
    roles = ["user", *(("assistant", tool)[at % 2] for at in range(len(contents) - 1))]
    return [{"role": r, "content": text} for r, text in zip(roles, contents, strict=True)]


SYSTEM = {"role": "system", "content": "Be brief."}
PROGRAM = "```python\nprint(3*4)\n```"
ANSWER = "So \\boxed{12}."
JOINED = f"{PROGRAM}\n```output\n12\n```\n{ANSWER}"


@pytest.mark.parametrize(
    "said",
    [
        turns("3*4?", PROGRAM, "```output\n12\n```", ANSWER),
        turns("3*4?", PROGRAM + "\n", "\n```output\n12\n```\n", ANSWER),
        turns("3*4?", PROGRAM, "<interpreter>12</interpreter>", ANSWER),
        turns("3*4?", PROGRAM, "<tool_response>\n12\n</tool_response>", ANSWER),
        turns("3*4?", PROGRAM.replace("\n", "\r\n"), "```output\r\n12\r\n```", ANSWER),
        turns("3*4?", PROGRAM, "12", ANSWER, tool="tool"),
        turns("3*4?", PROGRAM, "12\n", ANSWER, tool="ipython"),
        turns("3*4?", PROGRAM, "```output\n12\n```", ANSWER, tool="tool"),
        [SYSTEM, *turns("3*4?", PROGRAM, "12", ANSWER, tool="tool")],
        turns("3*4?", JOINED),
    ],
)  # fmt: skip
def test_turns_become_one_response(tmp_path: Path, said: list[dict[str, str]]) -> None:
    source = lines(tmp_path / "d.jsonl", {"id": "a", "messages": said})
    (found,) = demonstrations.load(source, markup=MARKUP)
    assert found == Demonstration("a", "3*4?", JOINED, "code")
    assert outputs.split_by_author(found.response, MARKUP) == [
        (Author.MODEL, PROGRAM),
        (Author.OUTPUT, "\n```output\n12\n```\n"),
        (Author.MODEL, ANSWER),
    ]


def test_several_programs_and_a_hostile_output(tmp_path: Path) -> None:
    """An output cannot close its fence, nor pass for the model's own text."""
    said = turns("q?", PROGRAM, "```\n```python\nx\n```", "Again.\n" + PROGRAM, "12", ANSWER,
                 tool="tool")  # fmt: skip
    source = lines(tmp_path / "d.jsonl", {"id": "a", "messages": said})
    (found,) = demonstrations.load(source, markup=MARKUP)
    assert found.question == "q?"
    assert outputs.split_by_author(found.response, MARKUP) == [
        (Author.MODEL, PROGRAM),
        (Author.OUTPUT, "\n```output\n'''\n'''python\nx\n'''\n```\n"),
        (Author.MODEL, "Again.\n" + PROGRAM),
        (Author.OUTPUT, "\n```output\n12\n```\n"),
        (Author.MODEL, ANSWER),
    ]


def test_turns_of_a_model_with_tags(tmp_path: Path) -> None:
    """The output's fence ends the model's turn and opens the next one."""
    call = '<tool_call>\n{"name": "python", "arguments": {"code": "print(3*4)"}}\n</tool_call>'
    said = turns("3*4?", call, "<tool_response>\n12\n</tool_response>", ANSWER)
    source = lines(tmp_path / "d.jsonl", {"id": "a", "messages": said})
    hermes = templates.TEMPLATES["hermes"]
    (found,) = demonstrations.load(source, markup=hermes)
    assert found.response == call + hermes.output_open + "12" + hermes.output_close + ANSWER
    assert found.decision == "code"


@pytest.mark.parametrize(
    ("said", "part"),
    [
        (turns("1+1?", "3", "Sure?", "2"), "messages[2] by user is a second question"),
        (turns("3*4?", PROGRAM, "12", ANSWER), "messages[2] by user is a second question"),
        (turns("3*4?", PROGRAM, "```output\n12\n```"), "messages must hold one by the user"),
        (turns("3*4?", "Let me see.", "12", ANSWER, tool="tool"), "an interpreter's output"),
        (turns("3*4?", OTHER_FENCE[:30], "12", ANSWER, tool="tool"), "an interpreter's output"),
        (turns("3*4?", ANSWER)[1:], "messages must hold one by the user"),
        (turns("3*4?", ANSWER) + turns(" ", ANSWER)[1:], "messages[2] is by assistant"),
        (turns("1+1?", "2", "no", "2", tool="critic"), "messages[2]: role must be system, user"),
        (turns(" ", ANSWER), "the problem is empty"),
        (
            [
                {"role": "user", "content": "3*4?"},
                {"role": "assistant", "content": "I call it.", "tool_calls": [{"id": "1"}]},
            ],
            "messages[1] has tool_calls",
        ),
        (
            [{"role": "user", "content": "3*4?"}, {"role": "assistant", "content": None}],
            "messages[1]: the field 'content' is missing",
        ),
    ],
)
def test_turns_that_show_no_conversation_are_named(
    tmp_path: Path, said: list[dict[str, str]], part: str
) -> None:
    good = {"id": "a", "problem": "6*7?", "response": CODE}
    source = lines(tmp_path / "d.jsonl", good, {"id": "b", "messages": said})
    with pytest.raises(ValueError) as raised:
        demonstrations.load(source, markup=MARKUP)
    assert str(raised.value).startswith(f"{source}:2: id 'b': ") and part in str(raised.value)
