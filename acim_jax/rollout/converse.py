"""The conversation between model and interpreter, for many rollouts at once.

Rounds: free slots are filled, due interpreter outputs appended, one decode call made, stopped rows
looked at. A program that was started at the end of round n is waited for at the start of round
n + 2, so that it runs while the other rows decode, and yet nothing depends on how fast it was: the
order of all device work is a function of the sampled tokens alone, which is what makes a resumed
run equal to one that was never stopped.
"""

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from acim_jax import markup as markups
from acim_jax import rng
from acim_jax.environment.executor import Executor
from acim_jax.model import transformer
from acim_jax.model.config import ModelConfig
from acim_jax.records import (
    Author,
    Episode,
    RolloutRequest,
    SamplingParams,
    Segment,
    Status,
    Stop,
)
from acim_jax.rollout.slots import Conversation
from acim_jax.sampling import decode, state
from acim_jax.sampling.config import SamplingConfig
from acim_jax.sharding import axes, place


@runtime_checkable
class Tokens(Protocol):
    """What the sampler needs of a tokenizer (`acim_jax.tokenizer.Tokenizer` has it)."""

    @property
    def eos_id(self) -> int: ...
    def encode(self, text: str) -> np.ndarray: ...
    def encode_plain(self, text: str) -> np.ndarray: ...
    def decode(self, token_ids: np.ndarray) -> str: ...
    def prompt_ids(self, question: str, markup: markups.Markup) -> np.ndarray: ...
    def halting_ids(self, markup: markups.Markup) -> np.ndarray: ...
    def stop_ids(self, markup: markups.Markup) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Sampler:
    """All that stays the same between calls of `converse`."""

    model: ModelConfig
    config: SamplingConfig
    tokenizer: Tokens
    markup: markups.Markup
    layout: axes.Layout | None = None

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """bool [V], as wide as the model's (padded) vocabulary: tokens that end a response."""
        ends = np.zeros((self.model.vocab_size,), np.bool_)
        ends[self.tokenizer.stop_ids(self.markup)] = True
        return ends

    @functools.cached_property
    def halts(self) -> decode.HaltTokens:
        """The vocabulary tables of `decode`; made once, as they look at every token's text."""
        fences = np.zeros((self.model.vocab_size,), np.bool_)
        halting = self.tokenizer.halting_ids(self.markup)
        fences[: len(halting)] = halting
        return decode.HaltTokens(jnp.asarray(self.ends), jnp.asarray(fences))


@dataclasses.dataclass
class RolloutStats:
    """Counts of one `converse` call. prefill_tokens: appended by us; execute_s: waited for."""

    rounds: int = 0
    prefill_tokens: int = 0
    sampled_tokens: int = 0
    near_ties: int = 0
    execute_s: float = 0.0


NEAR_TIE = 1e-4
Done = Callable[[], None]
#: Called with a rollout's tokens as they come; neighbouring MODEL pieces join in the episode.
OnSegment = Callable[[RolloutRequest, Segment], None]


def converse(
    params: transformer.Params,
    requests: Sequence[RolloutRequest],
    sampler: Sampler,
    executor: Executor | None,
    *,
    seed: int,
    iteration: int,
    temperature: float,
    on_done: Done = lambda: None,
    on_segment: OnSegment | None = None,
) -> tuple[list[Episode], RolloutStats]:
    """One episode per request, in the order of the requests.

    executor None: code is not run and a closing fence is text like any other. A text-guided
    rollout never has its code run: it is asked what thinking alone achieves. temperature 0 is
    greedy; such episodes cannot be trained on. on_segment: is told of all tokens, prompts included,
    those of the model after every `SamplingConfig.chunk` steps at the latest.
    """
    loop = _Loop(params, sampler, executor, temperature, on_done, on_segment)
    everyone = [_open(request, sampler, seed, iteration) for request in requests]
    waiting = collections.deque(c for c in everyone if c.stop is None)
    for _ in range(len(everyone) - len(waiting)):
        on_done()
    while waiting or loop.occupied:
        loop.admit(waiting)
        loop.collect_outputs()
        loop.append_given()
        loop.decode()
        loop.harvest()
    sampling = SamplingParams(temperature)
    return [_close(c, sampler, sampling, iteration) for c in everyone], loop.stats


def _open(request: RolloutRequest, sampler: Sampler, seed: int, iteration: int) -> Conversation:
    prompt = sampler.tokenizer.prompt_ids(request.problem.question, sampler.markup)
    given = [Segment(Author.PROMPT, prompt)]
    if request.prefix:
        given.append(Segment(Author.FORCED, sampler.tokenizer.encode(request.prefix)))
    key = rng.rollout_key(seed, iteration, request.problem.id, request.guide, request.index)
    conversation = Conversation(request, key, given)
    length = sum(len(s.token_ids) for s in given)
    if not 0 < length < sampler.config.max_length:
        conversation.segments = given
        conversation.stop = Stop.PROMPT
    return conversation


def _close(
    conversation: Conversation, sampler: Sampler, sampling: SamplingParams, iteration: int
) -> Episode:
    ids = conversation.response_ids()
    if conversation.stop is Stop.EOS and sampler.ends[ids[-1]]:
        ids = ids[:-1]
    text = sampler.tokenizer.decode(ids)
    opened = markups.count_opened(text, sampler.markup)
    return conversation.finish(text, opened, sampling, iteration)


def compile_all(params: transformer.Params, sampler: Sampler) -> None:
    """Runs the sampler's programs once in every shape, without any row in use."""
    loop = _Loop(params, sampler, None, 0.0, lambda: None, None)
    for width in sampler.config.prefill_buckets:
        loop.extend(width, [])
    loop.run_decode(0)
    jax.block_until_ready(loop.device.lengths)


class _Loop:
    """The device's row slots and who sits in them; lives for one `converse` call."""

    def __init__(
        self,
        params: transformer.Params,
        sampler: Sampler,
        executor: Executor | None,
        temperature: float,
        on_done: Done,
        on_segment: OnSegment | None,
    ) -> None:
        slots = sampler.config.slots
        self.params, self.sampler, self.executor = params, sampler, executor
        self.on_done, self.on_segment = on_done, on_segment
        self.stats = RolloutStats()
        self.device = state.create(
            config=sampler.model,
            slots=slots,
            length=sampler.config.max_length,
            layout=sampler.layout,
        )
        if sampler.layout is None:  # on the parameters' device, committed to it as they are
            self.device = jax.device_put(self.device, place.device_of(params))
        self.seats: list[Conversation | None] = [None] * slots
        self.active = np.zeros((slots,), np.bool_)
        self.was_active = self.active
        self.watched = np.zeros((slots,), np.bool_)
        self.keys = np.zeros((slots, 2), np.uint32)
        self.temperatures = np.full((slots,), temperature, np.float32)

    @property
    def occupied(self) -> bool:
        return any(seat is not None for seat in self.seats)

    def admit(self, waiting: collections.deque[Conversation]) -> None:
        for slot, seat in enumerate(self.seats):
            if seat is None and waiting:
                conversation = waiting.popleft()
                conversation.slot = slot
                self.seats[slot] = conversation
                self.keys[slot] = conversation.key
                self.watched[slot] = (
                    self.executor is not None and conversation.request.guide != "text"
                )

    def collect_outputs(self) -> None:
        """Takes results that are due; all of them when nothing else is left to decode."""
        running = [c for c in self.seats if c is not None and c.program is not None]
        idle = not self.active.any() and not any(c is not None and c.to_append for c in self.seats)
        started = time.perf_counter()
        for conversation in running:
            if idle or conversation.due <= self.stats.rounds:
                assert conversation.program is not None
                result = conversation.program.result()
                conversation.program = None
                conversation.executions.append(result)
                if result.status is Status.INFRA:
                    self._leave(conversation, Stop.INFRA)
                    continue
                output = markups.render_output(result, self.sampler.markup)
                ids = self.sampler.tokenizer.encode_plain(output)
                if conversation.settled + len(ids) >= self.sampler.config.max_length:
                    self._leave(conversation, Stop.LENGTH)
                else:
                    conversation.to_append = [Segment(Author.OUTPUT, ids)]
        self.stats.execute_s += time.perf_counter() - started

    def append_given(self) -> None:
        """Runs `extend` over all rows that lack given tokens, a bucket's width at a time."""
        pieces: list[list[tuple[int, int, np.ndarray]]] = []  # by how-many-th piece of its row
        widest = self.sampler.config.prefill_buckets[-1]
        for slot, conversation in enumerate(self.seats):
            if conversation is None or not conversation.to_append:
                continue
            start, known = conversation.settled, len(conversation.segments)
            tokens = conversation.append_given()
            self._tell(conversation, known)
            self.active[slot] = True
            self.stats.prefill_tokens += len(tokens)
            for nth, at in enumerate(range(0, len(tokens), widest)):
                if nth == len(pieces):
                    pieces.append([])
                pieces[nth].append((slot, start + at, tokens[at : at + widest]))
        for batch in pieces:
            for width, chunk in _bucketed(batch, self.sampler.config):
                self.extend(width, chunk)

    def extend(self, width: int, chunk: list[tuple[int, int, np.ndarray]]) -> None:
        rows_A = self.sampler.config.prefill_rows
        rows = np.full((rows_A,), self.sampler.config.slots, np.int32)
        starts = np.zeros((rows_A,), np.int32)
        counts = np.zeros((rows_A,), np.int32)
        token_ids = np.zeros((rows_A, width), np.int32)
        for a, (slot, start, tokens) in enumerate(chunk):
            rows[a], starts[a], counts[a] = slot, start, len(tokens)
            token_ids[a, : len(tokens)] = tokens
        self.device = decode.extend(
            self.params,
            self.device,
            rows,
            starts,
            token_ids,
            counts,
            config=self.sampler.model,
            layout=self.sampler.layout,
        )

    def decode(self) -> None:
        self.stats.rounds += 1
        self.was_active = self.active.copy()
        if not self.active.any():
            return
        # Stopped rows idle until the call returns, so it returns early once a few have stopped.
        self.run_decode(max(1, int(self.active.sum()) // 8))

    def run_decode(self, max_halted: int) -> None:
        rows = (self.active, self.watched, self.temperatures, self.keys)
        self.device, active = decode.decode(
            self.params,
            self.device,
            decode.RowControls(*cast(Any, rows)),
            self.sampler.halts,
            np.int32(self.sampler.config.chunk),
            np.int32(max_halted),
            config=self.sampler.model,
            layout=self.sampler.layout,
        )
        self.active = np.array(active)

    def harvest(self) -> None:
        """Looks at the rows that stopped in the last call; somebody who listens hears of all."""
        stopped = self.was_active & ~self.active
        looked_at = np.flatnonzero(stopped if self.on_segment is None else self.was_active)
        if not len(looked_at):
            return
        lengths, tokens, logprobs, margins = jax.device_get(
            (self.device.lengths, self.device.tokens, self.device.logprobs, self.device.margins)
        )
        for slot in looked_at:
            conversation = self.seats[slot]
            assert conversation is not None
            before, known = conversation.settled, len(conversation.segments)
            length = int(lengths[slot])
            conversation.settle_sampled(tokens[slot], logprobs[slot], length)
            self.stats.sampled_tokens += length - before
            self.stats.near_ties += int((margins[slot, before:length] < NEAR_TIE).sum())
            self._tell(conversation, known)
            if stopped[slot]:
                self._look(conversation, int(tokens[slot, length - 1]))

    def _tell(self, conversation: Conversation, known: int) -> None:
        if self.on_segment is not None:
            for segment in conversation.segments[known:]:
                self.on_segment(conversation.request, segment)

    def _look(self, conversation: Conversation, last_token: int) -> None:
        """Decides what a stopped row does next: ends, runs its program, or decodes on."""
        if self.sampler.ends[last_token]:
            self._leave(conversation, Stop.EOS)
            return
        program = None
        if self.watched[conversation.slot]:
            text = self.sampler.tokenizer.decode(conversation.response_ids())
            program = markups.closed_program(text, self.sampler.markup)
        if conversation.settled >= self.sampler.config.max_length:
            self._leave(conversation, Stop.LENGTH)
        elif program is None:
            self.active[conversation.slot] = True
        elif len(conversation.executions) >= self.sampler.markup.max_turns:
            self._leave(conversation, Stop.TURNS)
        else:
            assert self.executor is not None
            conversation.program = self.executor.submit(program)
            conversation.due = self.stats.rounds + 1

    def _leave(self, conversation: Conversation, stop: Stop) -> None:
        conversation.stop = stop
        self.seats[conversation.slot] = None
        self.active[conversation.slot] = False
        self.on_done()


def _bucketed(
    batch: list[tuple[int, int, np.ndarray]], config: SamplingConfig
) -> list[tuple[int, list[tuple[int, int, np.ndarray]]]]:
    """Splits pieces into calls of `prefill_rows` rows, each of the narrowest width that fits."""
    calls = []
    narrower = 0
    for width in config.prefill_buckets:
        fitting = [piece for piece in batch if narrower < len(piece[2]) <= width]
        for at in range(0, len(fitting), config.prefill_rows):
            calls.append((width, fitting[at : at + config.prefill_rows]))
        narrower = width
    return calls
