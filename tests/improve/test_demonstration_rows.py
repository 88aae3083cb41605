"""Demonstrations as rows: which tokens are targets."""

import itertools

import numpy as np
import pytest

from acim_jax.improve import demonstrations
from acim_jax.improve.demonstrations import Replay
from acim_jax.improve.packing import TokenRow
from acim_jax.markup import Markup
from acim_jax.records import Demonstration
from tests.support import tiny_models

MARKUP = Markup(
    template="<|user|>{problem}<|assistant|>",
    text_prefixes=("Let me think.\n",),
    code_prefixes=("Let me code.\n```python\n",),
)
CODE = Demonstration(
    "c",
    "Find 7",
    "Let me code.\n```python\nprint(7)\n```\n```output\n<|end|>7\n```\n\\boxed{7}",
    "code",
)
TEXT = Demonstration("t", "Find 10", "Let me think.\n\\boxed{10}", "text")
END, USER, ASSISTANT = 1, 2, 3


def weighted_text(row: TokenRow) -> list[tuple[str, float]]:
    """The text of each stretch of equal weight."""
    tokenizer = tiny_models.load_tokenizer()
    pairs = zip(row.token_ids, row.weights, strict=True)
    return [
        (tokenizer.decode(np.array([token for token, _ in group])), float(weight))
        for weight, group in itertools.groupby(pairs, key=lambda pair: pair[1])
    ]


def only_row(shown: Demonstration, weight: float) -> TokenRow:
    (encoded,) = demonstrations.encode([shown], tiny_models.load_tokenizer(), MARKUP)
    return encoded.row(weight)


def test_targets_of_a_demonstration():
    """Prompt and output are context; an end token that a program printed is ordinary text."""
    tokenizer = tiny_models.load_tokenizer()
    row = only_row(CODE, 0.25)
    assert weighted_text(row) == [
        ("<|user|>Find 7<|assistant|>", 0.0),
        ("Let me code.\n```python\n", 0.25),
        ("print(7)\n```", 1.0),
        ("\n```output\n<|end|>7\n```\n", 0.0),
        ("\\boxed{7}<|end|>", 1.0),
    ]
    assert row.token_ids.tolist().count(END) == 1 and row.token_ids[-1] == END
    # the borders are those of sampling: each piece is encoded by itself
    pieces = [tokenizer.encode(t) for t in ("Let me code.\n```python\n", "print(7)\n```")]
    start = len(tokenizer.prompt_ids("Find 7", MARKUP))
    expected = np.concatenate(pieces)
    np.testing.assert_array_equal(row.token_ids[start : start + len(expected)], expected)


def test_replay_leaves_the_decision_alone():
    replay = Replay.of([TEXT, CODE], tiny_models.load_tokenizer(), MARKUP, count=2, buckets=(20,))
    (row,) = replay.rows
    assert weighted_text(row) == [
        ("<|user|>Find 10<|assistant|>Let me think.\n", 0.0),
        ("\\boxed{10}<|end|>", 1.0),
    ]


#: Openings of responses that begin with no prefix of the markup.
@pytest.mark.parametrize(
    ("decision", "response", "opening"),
    [
        ("text", "\\boxed{1}", "\\boxed"),
        ("code", "```python\nprint(7)\n```\n7", "```python\n"),
        ("code", "A program:\n\n```python\nprint(7)\n```\n7", "A program:\n\n```python\n"),
        ("code", "Find 7.\nPrint it.\n```python\nprint(7)\n```\n7", "Find"),
        ("code", "Let me think.\n```python\nprint(7)\n```\n7", "Let me think.\n```python\n"),
    ],
)
def test_the_opening_of_a_response_without_a_prefix(decision, response: str, opening: str):
    """The opening fence of code, with a line before it at most; else the first token."""
    shown = Demonstration("b", "Find 1", response, decision)
    (_, before), (found, weight), (rest, one) = weighted_text(only_row(shown, 9.0))
    assert (before, weight, one) == (0.0, 9.0, 1.0)
    assert found == opening and found + rest == response + "<|end|>"


def test_a_text_is_told_apart_from_code_that_begins_as_it_does():
    """The first token is not enough where code opens with it, even behind a known prefix."""
    code = Demonstration("c", "Find 1", "Let me see:\n```python\nprint(7)\n```\n7", "code")
    text = Demonstration("t", "Find 1", "Let me add.\n\\boxed{7}", "text")
    other = Demonstration("o", "Find 1", "Ten.\n\\boxed{7}", "text")
    tokenizer = tiny_models.load_tokenizer()
    encoded = demonstrations.encode([text, code, other], tokenizer, MARKUP)
    openings = [
        tokenizer.decode(one.token_ids[one.start : one.start + one.opening]) for one in encoded
    ]
    assert openings[1] == "Let me see:\n```python\n"
    assert len(tokenizer.encode("Let me")) == 2 and encoded[0].opening == 3
    assert openings[0].startswith("Let me") and not openings[1].startswith(openings[0])
    assert encoded[2].opening == 1


def test_replay_draws_by_seed_iteration_and_step():
    tokenizer = tiny_models.load_tokenizer()
    sources = [Demonstration(f"t{i}", f"Find {i}", "\\boxed{7}", "text") for i in range(40)]
    replay = Replay.of(sources, tokenizer, MARKUP, count=5, buckets=(99,))
    draw = lambda *at: [id(row) for row in replay.draw(*at)]  # noqa: E731
    assert draw(0, 1, 2) == draw(0, 1, 2) and len(draw(0, 1, 2)) == 5
    assert len({tuple(draw(*at)) for at in ((0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3))}) == 4
    with pytest.raises(ValueError, match=r"None of the 40 .* improve.buckets = \[2, 3\]"):
        Replay.of(sources, tokenizer, MARKUP, count=5, buckets=(2, 3))
