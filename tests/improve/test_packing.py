"""Loss masks from authorship, and rows that survive padding and buckets."""

import dataclasses

import jax
import numpy as np
import pytest

from acim_jax.improve import packing
from acim_jax.improve.config import ImproveConfig
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


@pytest.mark.parametrize(("count", "expected"), [(1, [10]), (2, [10, 11]), (9, [10, 11])])
def test_the_bonus_behind_outputs(count: int, expected: list[int]):
    """On the first targets behind an output; those behind prompt and prefix have none, and a second
    output begins anew."""
    row = packing.example_row(Example(tool_use(), 1.0), count)
    assert row.has_bonus is not None and np.flatnonzero(row.has_bonus).tolist() == expected
    model = segment(Author.MODEL, 3, 4, logprobs=(-1.0, -1.0))
    output = segment(Author.OUTPUT, 5)
    twice = packing.example_row(
        Example(episode(model, output, model, model, output, model), 1.0), 3
    )
    assert twice.has_bonus is not None
    assert np.flatnonzero(twice.has_bonus).tolist() == [3, 4, 5, 8, 9]
    assert packing.example_row(Example(tool_use(), 1.0)).has_bonus is None


@pytest.mark.parametrize(
    ("settings", "arrays"),
    [
        ({}, 0),
        ({"correction": "masked"}, 1),
        ({"kl_weight": 0.1, "entropy_weight": 0.1, "entropy_tokens": 2}, 2),
    ],
)
def test_a_blank_row_has_the_arrays_of_a_real_one(settings: dict, arrays: int):
    """Else what is compiled ahead would not be what an iteration calls."""
    config = ImproveConfig(**settings)
    real = packing.example_row(Example(tool_use(), 1.0), config.entropy_tokens)
    extra = np.ones((12,), np.float32)
    if config.correction != "none":
        real = dataclasses.replace(real, proximal_logprobs=extra)
    if config.kl_weight:
        real = dataclasses.replace(real, reference_logprobs=extra)
    one, other = (packing.pack([row], 16, 2) for row in (packing.blank_row(config, 16), real))
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), batch) for batch in (one, other)]
    assert shapes[0] == shapes[1]
    assert len(jax.tree.leaves(one)) == 4 + arrays
    assert not one.weights.any()


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
