"""The sampler's compiled functions against full forward passes without a cache."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.model import scoring, transformer
from acim_jax.sampling import decode, extend, state
from acim_jax.sampling.config import SamplingConfig
from acim_jax.sampling.truncate import Truncation
from tests.support import tiny_models

LENGTH, STEPS = 24, 12
CONFIG = SamplingConfig(slots=2, spare=3, max_length=LENGTH, chunk=STEPS, page_size=4)
C, M = CONFIG.rows(), CONFIG.pages_per_row
NONE = 10_000
MODELS = {
    "scanned": dataclasses.replace(tiny_models.CONFIG, unroll=False),
    "by layers": dataclasses.replace(tiny_models.CONFIG, tie_embeddings=False),
}


@pytest.fixture(params=list(MODELS), scope="module")
def model(request):
    return MODELS[request.param]


def texts(*lengths: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 600, n).astype(np.int32) for n in lengths]


def table(row: int) -> np.ndarray:
    """Pages of a row, in falling order so that they are not the row's number times M."""
    return np.arange((row + 1) * M, row * M, -1).astype(np.int32)


class Device:
    """The state, and calls with numbers in place of arrays."""

    def __init__(self, model) -> None:
        self.model = model
        self.params = transformer.for_sampling(tiny_models.make_params(model), model)
        self.state = state.create(model=model, config=CONFIG)

    def extend(self, *pieces: tuple[int, int, np.ndarray], width: int = 8) -> None:
        """Pieces of (row, start, tokens)."""
        token_ids = np.full((1, len(pieces), width), 599, np.int32)  # padding that would be seen
        for a, (_, _, tokens) in enumerate(pieces):
            token_ids[0, a, : len(tokens)] = tokens
        tables = np.stack([table(row) for row, _, _ in pieces])[None]
        starts = np.array([[start for _, start, _ in pieces]], np.int32)
        self.state = extend.extend(
            self.params, self.state, tables, starts, token_ids, config=self.model
        )

    def seat(self, *rows: tuple[int, np.ndarray], halts: int = 1, limit: int = LENGTH) -> None:
        """Rows of (number, all tokens so far)."""
        A = len(rows)
        full = lambda value, dtype: np.full((1, A), value, dtype)  # noqa: E731
        described = state.Rows(
            tables=np.stack([table(min(row, C - 1)) for row, _ in rows])[None],
            last=np.array([[tokens[-1] for _, tokens in rows]], np.int32),
            lengths=np.array([[len(tokens) for _, tokens in rows]], np.int32),
            limits=full(limit, np.int32),
            keys=np.array([[[row, 7] for row, _ in rows]], np.uint32),
            temperatures=full(1.0, np.float32),
            truncation=Truncation(full(0, np.int32), full(1, np.float32), full(0, np.float32)),
            halts=full(halts, np.uint8),
        )
        numbers = np.array([[row for row, _ in rows]], np.int32)
        self.state = extend.seat(self.state, numbers, described)

    def decode(self, steps: int = STEPS, *, emptied: int = 99, ends=(), fences=()):
        """{row: tokens}, {row: log-probs} and the rows that stopped, with their steps."""
        flags = np.zeros((self.model.vocab_size,), np.uint8)
        flags[list(ends)] |= 1
        flags[list(fences)] |= 2
        self.state, log = decode.decode(
            self.params,
            self.state,
            jnp.asarray(flags),
            np.int32(steps),
            np.int32(emptied),
            config=self.model,
            chunk=STEPS,
        )
        host = decode.Log(*jax.device_get(log))
        tokens, logprobs, stopped = {}, {}, {}
        for step, slot in np.ndindex(int(host.steps), CONFIG.slots):
            row = int(host.rows[step, 0, slot])
            if row >= 0:
                tokens.setdefault(row, []).append(int(host.tokens[step, 0, slot]))
                logprobs.setdefault(row, []).append(float(host.logprobs[step, 0, slot]))
                if host.stopped[step, 0, slot]:
                    stopped[row] = step
        return tokens, logprobs, stopped


def check(device: Device, start: np.ndarray, sampled: list[int], logprobs: list[float]) -> None:
    """The stored log-probs are those of one full pass over the row."""
    row = np.zeros((1, LENGTH), np.int32)
    whole = [*start.tolist(), *sampled]
    row[0, : len(whole)] = whole
    scored = jax.jit(lambda p, ids: scoring.token_logprobs(p, device.model, ids))(
        device.params, row
    )
    expected = np.asarray(scored)[0, len(start) : len(whole)]
    np.testing.assert_allclose(logprobs, expected, rtol=0, atol=1e-5)


def test_prefill_in_pieces_and_decode_equal_the_full_pass(model):
    """Rows of different lengths, appended in one, two and three pieces in foreign row order; one
    row's place is used a second time, for a shorter text."""
    device = Device(model)
    a, b, c, old = texts(6, 12, 20, 23)
    device.extend((2, 0, old[:8]))
    device.extend((2, 8, old[8:16]))
    device.extend((3, 0, b[:8]), (0, 0, c[:3]), (2, 0, a[:-1]))
    device.extend((0, 3, c[3:11]), (3, 8, b[8:-1]))
    device.extend((0, 11, c[11:-1]))
    device.seat((0, c), (NONE, a), (2, a))
    device.seat((3, b))
    tokens, logprobs, stopped = device.decode(9)
    # two slots: row 0 is full after 4 tokens, and row 3 takes its slot in the next step
    assert {row: len(some) for row, some in tokens.items()} == {0: 4, 2: 9, 3: 5}
    assert stopped == {0: 3}
    for row, text in ((0, c), (2, a), (3, b)):
        check(device, text, tokens[row], logprobs[row])
    more, more_logprobs, stopped = device.decode()
    assert {row: len(some) for row, some in more.items()} == {2: 9, 3: 7}
    for row, text in ((2, a), (3, b)):
        check(device, text, tokens[row] + more[row], logprobs[row] + more_logprobs[row])


def test_what_stops_a_row(model):
    """End tokens stop every row, fence tokens those that ask for it, and a row's limit."""
    rows = list(enumerate(texts(3, 4)))

    def start(**settings) -> Device:
        device = Device(model)
        device.extend(*((row, 0, text[:-1]) for row, text in rows))
        device.seat(*rows, **settings)
        return device

    free, _, _ = start().decode(10)
    end, fence = free[0][2], free[1][5]
    assert end not in free[1] and fence not in free[0] and fence not in free[1][:5]
    tokens, _, stopped = start().decode(10, ends=[end], fences=[fence])
    assert tokens == {0: free[0][:3], 1: free[1]} and stopped == {0: 2}
    tokens, _, stopped = start(halts=3).decode(10, ends=[end], fences=[fence])
    assert tokens == {0: free[0][:3], 1: free[1][:6]} and stopped == {0: 2, 1: 5}
    tokens, _, stopped = start(limit=8).decode(10)
    assert tokens == {0: free[0][:5], 1: free[1][:4]} and stopped == {0: 4, 1: 3}
    tokens, _, stopped = start().decode(10, ends=[end], emptied=1)
    assert tokens == {0: free[0][:3], 1: free[1][:3]}, "it returns once one slot fell empty"


def test_slots_refill_themselves(model):
    """Five rows pass through two slots in one call, each as if it were alone."""
    rows = list(enumerate(texts(5, 6, 7, 8, 9)))
    together = Device(model)
    for row, text in rows:
        together.extend((row, 0, text[:-1]))
    together.seat(*rows[:3], limit=11)
    together.seat(*rows[3:], limit=11)
    tokens, logprobs, stopped = together.decode()
    assert {row: len(some) for row, some in tokens.items()} == {0: 6, 1: 5, 2: 4, 3: 3, 4: 2}
    assert stopped == {0: 5, 1: 4, 2: 8, 3: 8, 4: 10}
    for row, text in rows:
        alone = Device(model)
        alone.extend((row, 0, text[:-1]))
        alone.seat((row, text), limit=11)
        single, single_logprobs, _ = alone.decode()
        assert single[row] == tokens[row]
        assert single_logprobs[row] == logprobs[row], "to the last bit"


def test_copied_pages_hold_the_same(model):
    """A prompt prefilled once, in pages of its own, and read by two rows: its full page by both,
    its partly filled one from copies."""
    (prompt,) = texts(7)
    device = Device(model)
    device.extend((4, 0, prompt[:-1]))
    shared, tail = int(table(4)[0]), int(table(4)[1])
    copies = [int(table(row)[1]) for row in (0, 1)]
    device.state = extend.copy_pages(
        device.state,
        np.array([[tail, tail, 0]], np.int32),
        np.array([[*copies, 0]], np.int32),
        num_layers=model.num_layers,
    )
    device.seat((0, prompt), (1, prompt))
    tables = np.asarray(device.state.rows.tables).copy()
    tables[0, :2, 0] = shared
    device.state = device.state._replace(
        rows=device.state.rows._replace(tables=jnp.asarray(tables))
    )
    tokens, logprobs, _ = device.decode(6)
    assert tokens[0] != tokens[1]
    for row in (0, 1):
        check(device, prompt, tokens[row], logprobs[row])
