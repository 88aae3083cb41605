"""Warm-up: weights that fit the prior, batches that can be gone on with, steps in parts."""

import collections
import dataclasses
import itertools

import jax
import numpy as np
import pytest

from acim_jax.explore import decisions
from acim_jax.improve import packing, state, warm_up
from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.packing import TokenRow
from acim_jax.markup import Markup, prefix_rows
from acim_jax.markup.prefix_rows import PrefixEncoder
from acim_jax.records import Demonstration
from tests.support import tiny_models

MARKUP = Markup(
    template="<|user|>{problem}<|assistant|>",
    text_prefixes=("Let me think.\n",),
    code_prefixes=("Let me code.\n```python\n",),
)
TEXT = Demonstration("t", "Find 10", "Let me think.\n\\boxed{10}", "text")


CODE = Demonstration("c", "Find 7", "Let me code.\n```python\nprint(7)\n```\n7", "code")


@pytest.mark.parametrize(("prior", "code"), [(0.02, 5), (0.5, 5), (0.3, 1), (0.3, 9)])
def test_opening_weights_fit_the_prior(prior: float, code: int):
    """In rows of which `code` of 10 show code, −Σ w log p is least at p(code) = prior."""
    shown = ["code"] * code + ["text"] * (10 - code)
    weights = warm_up.opening_weights(WarmupConfig(code_prior=prior, decision_weight=0.3), shown)
    grid = np.linspace(0.001, 0.999, 999)
    loss = sum(-weights[d] * np.log(grid if d == "code" else 1 - grid) for d in shown)
    assert grid[loss.argmin()] == pytest.approx(prior, abs=1e-3)
    assert sum(weights[d] for d in shown) == pytest.approx(10 * 0.3)


def test_one_decision_alone_has_no_prior():
    with pytest.raises(ValueError, match=r"code_prior is 0.3, but none of the 4 .* shows code"):
        warm_up.opening_weights(WarmupConfig(code_prior=0.3), ["text"] * 4)
    as_shown = WarmupConfig(code_prior=None, decision_weight=0.4)
    assert warm_up.opening_weights(as_shown, ["text"] * 4)["text"] == 0.4


def test_what_does_not_fit_is_left_out_or_refused():
    """The share of each decision is measured on what fits."""
    tokenizer = tiny_models.load_tokenizer()
    long = Demonstration("l", "Find 1", "Let me think.\n" + "7 " * 60 + "\\boxed{1}", "text")
    config = WarmupConfig(buckets=(16, 32), code_prior=0.3, decision_weight=1.0)
    rows = warm_up.rows([TEXT, long, CODE, CODE], tokenizer, MARKUP, config)
    openings = [float(row.weights[row.weights > 0][0] / row.weights[-1]) for row in rows]
    assert sum(row.weights.sum() for row in rows) == pytest.approx(3)
    assert openings == pytest.approx([0.7 * 3, 0.3 * 3 / 2, 0.3 * 3 / 2])
    shortest = len(tokenizer.prompt_ids("Find 1", MARKUP)) + len(tokenizer.encode(long.response))
    with pytest.raises(ValueError, match=r"None of the 1 demonstrations .* = \[16, 32\]") as raised:
        warm_up.rows([long], tokenizer, MARKUP, config)
    assert str(shortest + 1) in str(raised.value)
    with pytest.raises(ValueError, match="None of the 0 demonstrations"):
        warm_up.rows([], tokenizer, MARKUP, config)


@pytest.mark.parametrize("known", [True, False])
def test_a_warmed_up_model_has_the_prior_whatever_the_shares(known: bool):
    """Of four demonstrations one shows code; it is to be chosen for three problems of five. Behind
    known prefixes, and where they are none of the markup that the model is trained with."""
    tokenizer, problems = tiny_models.load_tokenizer(), tiny_models.problems(8)
    trained = MARKUP if known else dataclasses.replace(
        MARKUP, text_prefixes=("So,",), code_prefixes=("So:\n```python\n",)
    )  # fmt: skip
    sources = [
        Demonstration(f"{p.id}{i}", p.question, *(
            ("Let me code.\n```python\nprint(7)\n```\n7", "code") if i == 0
            else ("Let me think.\n\\boxed{7}", "text")
        ))
        for p in problems for i in range(4)
    ]  # fmt: skip
    config = WarmupConfig(
        steps=120,
        rows=16,
        lr=1e-2,
        lr_warmup=10,
        code_prior=0.6,
        decision_weight=1.0,
        buckets=(48,),
    )
    learner = Learner(tiny_models.CONFIG, state.optimizer(ImproveConfig()))
    fitted = warm_up.fit(
        learner.new_state(tiny_models.make_params()),
        warm_up.batches(warm_up.rows(sources, tokenizer, trained, config), config, seed=0),
        learner,
        config,
        first=0,
        last=config.steps,
    )
    encoder = PrefixEncoder(tokenizer, MARKUP, prefix_rows.width(tokenizer, MARKUP, problems))
    found = decisions.prefix_policy(fitted.params, problems, encoder, tiny_models.CONFIG)
    assert found.mass.min() > 0.9
    assert found.code.mean() == pytest.approx(0.6, abs=0.06)


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
