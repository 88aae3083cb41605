"""The sampler's two programs against full forward passes without a cache."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.model import transformer
from acim_jax.sampling import decode, state
from tests.support import tiny_models

SLOTS, LENGTH, PAD_ROW = 4, 24, 4
CONFIGS = {
    "scanned": tiny_models.CONFIG,
    "unrolled": dataclasses.replace(tiny_models.CONFIG, unroll=True),
}


@pytest.fixture(params=list(CONFIGS), scope="module")
def config(request):
    return CONFIGS[request.param]


def texts(*lengths: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 600, n).astype(np.int32) for n in lengths]


def extend(params, sampler, config, rows, starts, pieces, width=8):
    token_ids = np.full((len(rows), width), 599, np.int32)  # padding that would be seen
    for row, piece in zip(token_ids, pieces, strict=True):
        row[: len(piece)] = piece
    counts = np.array([len(p) for p in pieces], np.int32)
    return decode.extend(
        params,
        sampler,
        np.array(rows, np.int32),
        np.array(starts, np.int32),
        token_ids,
        counts,
        config=config,
    )


def run_decode(params, sampler, config, active, *, steps=6, halted=SLOTS, ends=(), **controls):
    vocab = np.zeros((2, config.vocab_size), bool)
    vocab[0, list(ends)] = True
    vocab[1, list(controls.pop("fences", ()))] = True
    rows = decode.RowControls(
        np.array(active),
        controls.pop("watched", np.zeros((SLOTS,), bool)),
        np.full((SLOTS,), controls.pop("temperature", 1.0), np.float32),
        np.arange(2 * SLOTS, dtype=np.uint32).reshape(SLOTS, 2),
    )
    halts = decode.HaltTokens(jnp.asarray(vocab[0]), jnp.asarray(vocab[1]))
    return decode.decode(
        params, sampler, rows, halts, np.int32(steps), np.int32(halted), config=config
    )


def fresh(config):
    return state.create(config=config, slots=SLOTS, length=LENGTH)


def full_hidden(params, config, token_ids: np.ndarray) -> np.ndarray:
    """Final hidden state at the last token, by one pass over the whole row."""
    padded = np.zeros((1, LENGTH), np.int32)
    padded[0, : len(token_ids)] = token_ids
    hidden, _ = jax.jit(transformer.forward, static_argnums=1)(
        params, config, padded, np.arange(LENGTH, dtype=np.int32)[None]
    )
    return np.asarray(hidden)[0, len(token_ids) - 1]


def test_prefill_in_pieces_and_decode_equal_the_full_pass(config):
    """Rows of different lengths, appended in one, two and three pieces in foreign row order;
    one row is used a second time, for a shorter text."""
    params = tiny_models.make_params(config)
    a, b, c, old = texts(5, 11, 19, 23)
    sampler = extend(params, fresh(config), config, [2], [0], [old[:8]])
    sampler = extend(params, sampler, config, [2], [8], [old[8:16]])
    # the padding row number stands for no row
    sampler = extend(params, sampler, config, [3, PAD_ROW, 2], [0, 0, 0], [b[:8], c[:3], a])
    sampler = extend(params, sampler, config, [0, 3], [0, 8], [c[:8], b[8:]])
    sampler = extend(params, sampler, config, [0], [8], [c[8:16]])
    sampler = extend(params, sampler, config, [0], [16], [c[16:]])
    assert np.asarray(sampler.lengths).tolist() == [19, 0, 5, 11]
    for row, text in ((0, c), (2, a), (3, b)):
        np.testing.assert_array_equal(sampler.tokens[row, : len(text)], text)
        np.testing.assert_allclose(
            sampler.hidden[row], full_hidden(params, config, text), rtol=0, atol=1e-5
        )
    sampler, active = run_decode(params, sampler, config, [True, False, True, True], steps=9)
    # row 0 fills up after 5 tokens, the others go on
    assert np.asarray(sampler.lengths).tolist() == [24, 0, 14, 20]
    assert np.asarray(active).tolist() == [False, False, True, True]
    for row in (0, 2, 3):
        text = np.asarray(sampler.tokens)[row, : sampler.lengths[row]]
        np.testing.assert_allclose(
            sampler.hidden[row], full_hidden(params, config, text), rtol=0, atol=1e-5
        )


def test_rows_that_rest_are_untouched(config):
    """An inactive row goes on later as if the others had never decoded in between."""
    params = tiny_models.make_params(config)
    a, b = texts(4, 6)

    def start():
        return extend(params, fresh(config), config, [0, 1], [0, 0], [a, b])

    straight, _ = run_decode(params, start(), config, [True, True, False, False], steps=8)
    paused, _ = run_decode(params, start(), config, [False, True, False, False], steps=3)
    assert np.asarray(paused.lengths).tolist() == [4, 9, 0, 0]
    paused, _ = run_decode(params, paused, config, [True, False, False, False], steps=8)
    paused, _ = run_decode(params, paused, config, [False, True, False, False], steps=5)
    np.testing.assert_array_equal(paused.tokens[0, :12], straight.tokens[0, :12])
    np.testing.assert_array_equal(paused.tokens[1, :14], straight.tokens[1, :14])
    np.testing.assert_allclose(paused.logprobs[0, 4:12], straight.logprobs[0, 4:12], atol=1e-5)


def test_stops(config):
    """End tokens stop every row, fence tokens watched rows only; the stopping token is written."""
    params = tiny_models.make_params(config)
    prompts = texts(3, 4, 5)

    def start():
        return extend(params, fresh(config), config, [0, 1, 2], [0, 0, 0], prompts)

    rows = [True, True, True, False]
    free, _ = run_decode(params, start(), config, rows, steps=10)
    tokens = np.asarray(free.tokens)
    # what each row samples as its third, fifth and seventh token
    end, fence, other = int(tokens[0, 5]), int(tokens[1, 8]), int(tokens[2, 11])
    assert len({end, fence, other}) == 3
    watched = np.array([True, True, False, False])
    stopped, active = run_decode(
        params, start(), config, rows, steps=10, ends=[end], fences=[fence, other], watched=watched
    )
    expected = []
    for row, n in enumerate((3, 4, 5)):
        halting = {end, fence, other} if watched[row] else {end}
        at = [i for i in range(n, n + 10) if int(tokens[row, i]) in halting]
        expected.append(at[0] + 1 if at else n + 10)
    assert expected[0] == 6 and expected[1] == 9 and expected[2] == 15
    assert np.asarray(stopped.lengths).tolist() == [*expected, 0]
    assert np.asarray(active).tolist() == [False, False, True, False]
    for row, n in enumerate(expected):
        np.testing.assert_array_equal(np.asarray(stopped.tokens)[row, :n], tokens[row, :n])
    early, active = run_decode(
        params, start(), config, rows, steps=10, halted=1, ends=[end], fences=[fence]
    )
    assert np.asarray(early.lengths).tolist() == [6, 7, 8, 0], "it returns once one row stopped"
    assert np.asarray(active).tolist() == [False, True, True, False]
