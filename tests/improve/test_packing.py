"""Loss masks from authorship, and rows that survive padding and buckets."""

import numpy as np
import pytest

from acim_jax.improve import packing
from acim_jax.markup import prefix_rows
from acim_jax.records import Author, Episode, Example, SamplingParams, Segment, Stop


def segment(author: Author, *ids: int, logprobs: tuple[float, ...] | None = None) -> Segment:
    values = None if logprobs is None else np.array(logprobs, np.float32)
    return Segment(author, np.array(ids, np.int32), values)


def episode(*segments: Segment, temperature: float = 1.0) -> Episode:
    return Episode("p", "code", 0, segments, (), Stop.EOS, SamplingParams(temperature))


def tool_use() -> Episode:
    """Prompt, forced prefix, program, output, answer and end token; id 0 is a token like any."""
    return episode(
        segment(Author.PROMPT, 2, 9, 0),
        segment(Author.FORCED, 11, 12),
        segment(Author.MODEL, 0, 14, logprobs=(-0.1, -0.2)),
        segment(Author.OUTPUT, 15, 0, 17),
        segment(Author.MODEL, 18, 1, logprobs=(-0.3, 0.0)),
    )


def test_targets_are_what_the_model_wrote():
    row = packing.example_row(Example(tool_use(), advantage=-0.5, weight=1.5))
    assert row.token_ids.tolist() == [2, 9, 0, 11, 12, 0, 14, 15, 0, 17, 18, 1]
    assert row.weights.tolist() == [0, 0, 0, 0, 0, 1.5, 1.5, 0, 0, 0, 1.5, 1.5]
    expected = [0, 0, 0, 0, 0, -0.1, -0.2, 0, 0, 0, -0.3, 0]
    np.testing.assert_allclose(row.behaviour_logprobs, expected, rtol=1e-6)
    assert row.advantage == -0.5
    assert row.num_targets == 4


def test_what_has_no_ratio_is_refused():
    lost = episode(segment(Author.PROMPT, 2), segment(Author.MODEL, 7, 1))
    with pytest.raises(ValueError, match="problem p has MODEL tokens without behaviour log-probs"):
        packing.example_row(Example(lost, 1.0))
    greedy = episode(segment(Author.MODEL, 7, logprobs=(-1.0,)), temperature=0.0)
    with pytest.raises(ValueError, match="decoded greedily"):
        packing.example_row(Example(greedy, 1.0))


def rows(*lengths: int) -> list[packing.TokenRow]:
    return [
        packing.TokenRow(
            np.full((n,), n, np.int32), np.ones((n,), np.float32), np.full((n,), -float(n)), n / 10
        )
        for n in lengths
    ]


def test_pack_pads_with_nothing():
    batch = packing.pack(rows(2, 4), width=5, num_rows=3)
    assert batch.token_ids.tolist() == [[2, 2, 0, 0, 0], [4, 4, 4, 4, 0], [0] * 5]
    assert batch.weights.tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [0] * 5]
    assert batch.behaviour_logprobs[1].tolist() == [-4, -4, -4, -4, 0]
    np.testing.assert_allclose(batch.advantages, [0.2, 0.4, 0])
    with pytest.raises(ValueError, match="6 tokens does not fit into 5 columns"):
        packing.pack(rows(6), width=5, num_rows=1)


def test_microbatches_hold_every_row_once():
    """In the narrowest bucket that fits; a bucket's border belongs to it."""
    batches = list(packing.microbatches(rows(3, 8, 4, 5, 2, 1), (4, 8), 2))
    assert [b.token_ids.shape for b in batches] == [(2, 4), (2, 4), (2, 8)]
    found = [int(row[0]) for b in batches for row in b.token_ids if row.any()]
    assert sorted(found) == [1, 2, 3, 4, 5, 8]
    with pytest.raises(ValueError, match="9 tokens does not fit into the widest bucket, 8"):
        list(packing.microbatches(rows(9, 3), (4, 8), 2))


def test_fits():
    assert packing.fits(tool_use(), (4, 12))
    assert not packing.fits(tool_use(), (4, 11))


def test_decision_batch():
    prompts = [np.array([2, 5, 3]), np.array([2, 3])]
    prefixes = [[np.array([7, 8]), np.array([9])], [np.array([10])]]
    strategies = [np.array([0.3, 0.7]), np.array([1.0, 0.0])]
    rows = prefix_rows.pack(prompts, prefixes, width=6, num_problems=3)
    batch = packing.decision_batch(rows, strategies)
    assert rows.prompts.tolist() == [[2, 5, 3, 0, 0, 0], [2, 3, 0, 0, 0, 0], [0] * 6]
    assert rows.lengths.tolist() == [3, 2, 0]
    assert rows.prefixes.tolist() == [[7, 8, 9, 10] + [0] * 12] * 3
    assert rows.prefix_of.tolist() == [[0, 0, 1, 2] + [-1] * 12] * 3
    assert rows.of_decision[:2].tolist() == [[[True, True, False], [False, False, True]]] * 2
    assert not rows.of_decision[2].any()
    np.testing.assert_allclose(batch.strategy, [[0.3, 0.7], [1, 0], [0, 0]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"prompt of 3 tokens does not fit into 2 columns"):
        prefix_rows.pack(prompts, prefixes, width=2, num_problems=3)
