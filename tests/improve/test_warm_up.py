"""Warm-up: weights that fit the prior, batches that can be gone on with, steps in parts."""

import collections
import itertools

import jax
import numpy as np
import pytest

from acim_jax.improve import packing, state, warm_up
from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenRow
from acim_jax.markup import Markup
from acim_jax.records import Demonstration
from tests.support import tiny_models

MARKUP = Markup(
    template="<|user|>{problem}<|assistant|>",
    text_prefixes=("Let me think.\n",),
    code_prefixes=("Let me code.\n```python\n",),
)
TEXT = Demonstration("t", "Find 10", "Let me think.\n\\boxed{10}", "text")


@pytest.mark.parametrize("prior", [0.02, 0.5])
def test_prefix_weights_fit_the_prior(prior: float):
    """In a mixture of equal shares with these weights, −Σ w log p is least at p(code) = prior."""
    weights = warm_up.prefix_weights(WarmupConfig(code_prior=prior, decision_weight=0.3))
    grid = np.linspace(0.001, 0.999, 999)
    loss = -weights["code"] * np.log(grid) - weights["text"] * np.log(1 - grid)
    assert grid[loss.argmin()] == pytest.approx(prior, abs=1e-3)
    assert weights["code"] + weights["text"] == pytest.approx(2 * 0.3)


def test_what_does_not_fit_is_left_out_or_refused():
    tokenizer = tiny_models.load_tokenizer()
    long = Demonstration("l", "Find 1", "Let me think.\n" + "7 " * 60 + "\\boxed{1}", "text")
    config = WarmupConfig(buckets=(32,))
    rows = warm_up.rows([TEXT, long], tokenizer, MARKUP, config)
    assert len(rows) == 1
    with pytest.raises(ValueError, match=r"None of the 1 demonstrations fits .* = 32 tokens"):
        warm_up.rows([long], tokenizer, MARKUP, config)
    with pytest.raises(ValueError, match="no demonstrations"):
        warm_up.rows([], tokenizer, MARKUP, config)


def numbered_rows(count: int) -> list[TokenRow]:
    """Row i holds id i, once to five times."""
    lengths = [1 + i % 5 for i in range(count)]
    return [
        TokenRow(np.full((n,), i, np.int32), np.ones((n,), np.float32), np.zeros((n,)))
        for i, n in enumerate(lengths)
    ]


def take(rows, config, count: int, **settings):
    return list(itertools.islice(warm_up.batches(rows, config, **settings), count))


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


def test_learning_rate():
    config = WarmupConfig(
        steps=100, lr=1.0, lr_warmup=10, decay_fraction=0.5, final_lr_fraction=0.1
    )
    expected = {0: 0.1, 4: 0.5, 9: 1.0, 49: 1.0, 50: 1.0, 75: 0.5, 90: 0.2, 99: 0.1}
    found = {at: warm_up.learning_rate(config, at) for at in expected}
    assert found == pytest.approx(expected)


def test_two_parts_are_one_whole():
    config = WarmupConfig(steps=6, rows=4, lr=1e-2, lr_warmup=2, buckets=(12,))
    learner = Learner(tiny_models.CONFIG, state.optimizer(ImproveConfig()))
    rows = [
        TokenRow(
            np.arange(20 * i, 25 * i + 5, dtype=np.int32)[:9],
            np.ones((min(5 * i + 5, 9),), np.float32),
            np.zeros((min(5 * i + 5, 9),), np.float32),
        )
        for i in range(6)
    ]
    batches = [packing.pack(rows[i % 4 : i % 4 + 3], 12, 4) for i in range(6)]
    losses: list[tuple[int, float]] = []

    def fit(start, own, first: int, last: int, **settings):
        return warm_up.fit(start, iter(own), learner, config, first=first, last=last, **settings)

    fresh = lambda: learner.new_state(tiny_models.make_params())  # noqa: E731
    whole = fit(
        fresh(), batches, 0, 6, on_loss=lambda at, loss: losses.append((at, loss)), log_every=3
    )
    part = fit(fit(fresh(), batches[:2], 0, 2), batches[2:], 2, 6)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [at for at, _ in losses] == [3, 6]
    assert losses[1][1] < losses[0][1]
