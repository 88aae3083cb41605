"""Where the outputs of the interpreter stand in a response."""

import pytest

from acim_jax.data import generated
from acim_jax.markup import Markup, outputs
from acim_jax.records import Author

MARKUP = Markup(text_prefixes=("Think.\n",), code_prefixes=("Code.\n```python\n",))
CODE = "Code.\n```python\nprint(6*7)\n```\n```output\n42\n```\n\\boxed{42}"
MODEL, OUTPUT = Author.MODEL, Author.OUTPUT


@pytest.mark.parametrize(
    ("response", "pieces"),
    [
        (
            CODE,
            [
                (MODEL, "Code.\n```python\nprint(6*7)\n```"),
                (OUTPUT, "\n```output\n42\n```\n"),
                (MODEL, "\\boxed{42}"),
            ],
        ),
        ("Think.\n2. \\boxed{2}", [(MODEL, "Think.\n2. \\boxed{2}")]),
        ("", []),
        # Two programs, the second output empty; the text between belongs to the model.
        (
            "a\n```\n```output\n1\n```\nb\n```\n```output\n\n```\n",
            [
                (MODEL, "a\n```"),
                (OUTPUT, "\n```output\n1\n```\n"),
                (MODEL, "b\n```"),
                (OUTPUT, "\n```output\n\n```\n"),
            ],
        ),
        # The interpreter closes what it opens: an open fence is the model's own writing.
        ("a\n```output\n1", [(MODEL, "a\n```output\n1")]),
    ],
)
def test_responses_are_cut_by_author(response: str, pieces: list[tuple[Author, str]]) -> None:
    assert outputs.split_by_author(response, MARKUP) == pieces


def test_generated_responses_hold_one_output_and_join_again() -> None:
    for one in generated.demonstrations(300, seed=4, markup=MARKUP):
        pieces = outputs.split_by_author(one.response, MARKUP)
        assert "".join(text for _, text in pieces) == one.response
        assert [a for a, _ in pieces].count(OUTPUT) == (one.decision == "code")


def test_the_prefix_that_a_response_begins_with() -> None:
    assert MARKUP.prefix_of(CODE) == MARKUP.prefix_of(CODE, "code") == "Code.\n```python\n"
    assert MARKUP.prefix_of(CODE, "text") == MARKUP.prefix_of("So Code.\n```python\n") == ""
    assert MARKUP.prefix_of("Think.\n", "text") == "Think.\n"
