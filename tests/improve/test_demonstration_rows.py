"""Demonstrations as rows: which tokens are targets, and batches that can be gone on with."""

import collections
import itertools

import numpy as np
import pytest

from acim_jax.improve import demonstration_rows
from acim_jax.improve.config import WarmupConfig
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


def test_targets_of_a_demonstration():
    """Prompt and output are context; an end token that a program printed is ordinary text."""
    tokenizer = tiny_models.load_tokenizer()
    row = demonstration_rows.demonstration_row(CODE, tokenizer, MARKUP, prefix_weight=0.25)
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
    (row,) = demonstration_rows.replay_rows([TEXT], tiny_models.load_tokenizer(), MARKUP)
    assert weighted_text(row) == [
        ("<|user|>Find 10<|assistant|>Let me think.\n", 0.0),
        ("\\boxed{10}<|end|>", 1.0),
    ]


def test_a_response_without_its_prefix_is_all_body():
    bare = Demonstration("b", "Find 1", "\\boxed{1}", "text")
    row = demonstration_rows.demonstration_row(
        bare, tiny_models.load_tokenizer(), MARKUP, prefix_weight=9.0
    )
    assert [w for _, w in weighted_text(row)] == [0.0, 1.0]


@pytest.mark.parametrize("prior", [0.02, 0.5])
def test_prefix_weights_fit_the_prior(prior: float):
    """In a mixture of equal shares with these weights, −Σ w log p is least at p(code) = prior."""
    weights = demonstration_rows.prefix_weights(WarmupConfig(code_prior=prior, decision_weight=0.3))
    grid = np.linspace(0.001, 0.999, 999)
    loss = -weights["code"] * np.log(grid) - weights["text"] * np.log(1 - grid)
    assert grid[loss.argmin()] == pytest.approx(prior, abs=1e-3)
    assert weights["code"] + weights["text"] == pytest.approx(2 * 0.3)


def test_what_does_not_fit_is_left_out_or_refused():
    tokenizer = tiny_models.load_tokenizer()
    long = Demonstration("l", "Find 1", "Let me think.\n" + "7 " * 60 + "\\boxed{1}", "text")
    config = WarmupConfig(buckets=(32,))
    rows = demonstration_rows.warmup_rows([TEXT, long], tokenizer, MARKUP, config)
    assert len(rows) == 1
    with pytest.raises(ValueError, match=r"None of the 1 demonstrations fits .* = 32 tokens"):
        demonstration_rows.warmup_rows([long], tokenizer, MARKUP, config)
    with pytest.raises(ValueError, match="no demonstrations"):
        demonstration_rows.warmup_rows([], tokenizer, MARKUP, config)


def numbered_rows(count: int) -> list[TokenRow]:
    """Row i holds id i, once to five times."""
    lengths = [1 + i % 5 for i in range(count)]
    return [
        TokenRow(np.full((n,), i, np.int32), np.ones((n,), np.float32), np.zeros((n,)))
        for i, n in enumerate(lengths)
    ]


def take(rows, config, count: int, **settings):
    return list(
        itertools.islice(demonstration_rows.warmup_batches(rows, config, **settings), count)
    )


def ids(batch) -> list[int]:
    return batch.token_ids[batch.weights[:, 0] > 0][:, 0].tolist()


def test_batches_go_through_everything_reshuffled():
    """80 rows in batches of 5 are two groups of eight batches a pass."""
    rows, config = numbered_rows(80), WarmupConfig(rows=5, buckets=(3, 5))
    batches = take(rows, config, 32, seed=0)
    for half in (batches[:16], batches[16:]):
        seen = collections.Counter(i for batch in half for i in ids(batch))
        assert seen == dict.fromkeys(range(80), 1)
    assert [ids(b) for b in batches[:16]] != [ids(b) for b in batches[16:]]
    for batch in batches:
        longest = max(1 + i % 5 for i in ids(batch))
        assert batch.token_ids.shape == (5, 3 if longest <= 3 else 5)


def test_batches_can_be_gone_on_with():
    rows, config = numbered_rows(80), WarmupConfig(rows=5, buckets=(5,))
    whole = take(rows, config, 25, seed=3)
    rest = take(rows, config, 5, seed=3, first=20)
    assert [ids(b) for b in rest] == [ids(b) for b in whole[20:]]
    assert [ids(b) for b in take(rows, config, 5, seed=4)] != [ids(b) for b in whole[:5]]


def test_fewer_rows_than_a_batch():
    (batch,) = take(numbered_rows(3), WarmupConfig(rows=5, buckets=(5,)), 1, seed=0)
    assert sorted(ids(batch)) == [0, 1, 2]
    assert batch.token_ids.shape == (5, 5)
