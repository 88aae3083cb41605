"""Calls the sampler's compiled functions: assigns rows and pages, and returns sampled tokens.

It knows rows, pages and tokens; `converse.py` knows the conversations. Only `read` waits for the
device, and a decode call is in flight while the host works.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from acim_jax.model import transformer
from acim_jax.records import SamplingParams
from acim_jax.rollout import pages
from acim_jax.rollout.conversation import Conversation, Sampled
from acim_jax.rollout.pages import Allocator, PageCopy, Piece, Prompt
from acim_jax.rollout.sampler import END, HALT, OPEN, Sampler
from acim_jax.sampling import decode, extend, state
from acim_jax.sampling.decode import Log
from acim_jax.sampling.state import Rows
from acim_jax.sampling.truncate import Truncation
from acim_jax.sharding import place

NEAR_TIE = 1e-4


@dataclasses.dataclass
class RolloutStats:
    """Counts of one `converse` call.

    prefill_tokens: computed for given text. near_ties: tokens that led the next best by less than
    1e-4. steps, slot_steps: decode steps, and tokens they would have made with full slots. calls:
    decode calls. execute_s: seconds spent waiting for programs with no row to decode. device_s:
    seconds spent waiting for tokens. infra: programs that the executor lost. refused: those of them
    that it did not accept.
    """

    prefill_tokens: int = 0
    sampled_tokens: int = 0
    near_ties: int = 0
    steps: int = 0
    slot_steps: int = 0
    calls: int = 0
    execute_s: float = 0.0
    device_s: float = 0.0
    infra: int = 0
    refused: int = 0

    def __add__(self, other: "RolloutStats") -> "RolloutStats":
        names = [field.name for field in dataclasses.fields(self)]
        return RolloutStats(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Engine:
    """The device's state and the conversations in its rows, for one `converse` call."""

    def __init__(
        self, params: transformer.Params, sampler: Sampler, sampling: SamplingParams
    ) -> None:
        self.params, self.sampling, self.flags = params, sampling, sampler.flags
        self.model, self.config, self.layout = sampler.model, sampler.config, sampler.layout
        layout = self.layout
        self.num_shards = 1 if layout is None else layout.shards("batch")
        # Rows per shard of a call that prepares new conversations, and of one that appends outputs.
        self._rows = -(-self.config.prefill_rows // self.num_shards)
        self._few_rows = -(-self._rows // 4)
        self.shards = pages.allocators(self.config, self.num_shards)
        #: Conversations in the device's rows that are not known to have stopped.
        self.by_row: dict[tuple[int, int], Conversation] = {}
        self.stats = RolloutStats()
        self.device = state.create(model=self.model, config=self.config, layout=layout)
        if layout is None:  # on the parameters' device, committed to it as they are
            self.device = jax.device_put(self.device, place.device_of(params))
        self._to_fill: list[list[Piece]] = []
        self._to_copy: list[PageCopy] = []
        self._to_begin: list[list[Piece]] = []
        self._to_resume: list[list[Piece]] = []
        self._to_seat: list[Conversation] = []

    @property
    def has_room(self) -> bool:
        return any(shard.free_rows for shard in self.shards)

    def admit(self, conversation: Conversation, *, shares: bool, followers: int) -> None:
        """Gives a conversation a row and pages. shares: others have the same prompt, which is
        prefilled once, on pages of its own. followers: how many of them are not admitted yet."""
        prompt_ids = conversation.prompt_ids
        key = prompt_ids.tobytes()
        shard = self._choose_shard(key)
        conversation.shard, conversation.row = shard.index, shard.free_rows.pop()
        size = self.config.page_size
        needed = -(-conversation.limit // size)
        shared: list[int] = []
        if shares and len(prompt_ids) > 1:
            prompt = shard.prompts.get(key) or self._fill_prompt(shard, key, prompt_ids)
            prompt.users, prompt.awaited = prompt.users + 1, followers
            full, rest = divmod(prompt.cached, size)
            shared = prompt.pages[:full]
            conversation.shared, conversation.cached = key, prompt.cached
            conversation.pages = shard.take_pages(needed - full)
            if rest:
                source, target = prompt.pages[full], conversation.pages[0]
                self._to_copy.append(PageCopy(shard.index, source, target))
        else:
            conversation.pages = shard.take_pages(needed)
        width = self.config.pages_per_row
        conversation.table = pages.table([*shared, *conversation.pages], width)

    def _choose_shard(self, key: bytes) -> Allocator:
        free = [shard for shard in self.shards if shard.free_rows]
        return max(free, key=lambda s: (key in s.prompts, len(s.free_rows), -s.index))

    def _fill_prompt(self, shard: Allocator, key: bytes, token_ids: np.ndarray) -> Prompt:
        count = -(-(len(token_ids) - 1) // self.config.page_size)
        prompt = shard.prompts[key] = Prompt(token_ids, shard.take_pages(count))
        table = pages.table(prompt.pages, self.config.pages_per_row)
        self._append(self._to_fill, Piece(shard.index, table, 0, token_ids[:-1]))
        return prompt

    def seat(self, conversation: Conversation) -> None:
        """Queues a conversation for decoding, after its uncached tokens are prefilled."""
        tokens = conversation.uncached()
        if len(tokens):
            start = conversation.cached
            piece = Piece(conversation.shard, conversation.table, start, tokens)
            is_later = bool(conversation.executions)
            self._append(self._to_resume if is_later else self._to_begin, piece)
            conversation.cached += len(tokens)
        self._to_seat.append(conversation)
        self.by_row[conversation.shard, conversation.row] = conversation

    def release(self, conversation: Conversation) -> None:
        """Frees the row and pages of a conversation that the device does not hold."""
        shard = self.shards[conversation.shard]
        shard.free_rows.append(conversation.row)
        shard.free_pages += conversation.pages
        if conversation.shared is not None:
            shard.leave(conversation.shared)
        conversation.row, conversation.pages, conversation.shared = -1, [], None

    def _append(self, rounds: list[list[Piece]], piece: Piece) -> None:
        """Splits a text into pieces of the widest bucket; all n-th pieces are appended together."""
        self.stats.prefill_tokens += len(piece.token_ids)
        widest = self.config.prefill_buckets[-1]
        for nth, at in enumerate(range(0, len(piece.token_ids), widest)):
            if nth == len(rounds):
                rounds.append([])
            ids = piece.token_ids[at : at + widest]
            rounds[nth].append(Piece(piece.shard, piece.table, piece.start + at, ids))

    def flush(self) -> None:
        """Starts what prepares rows: prompts, their copies, own tokens, seats."""
        self._extend_all(self._to_fill, self._rows)
        for batch in pages.calls(self._to_copy, self.num_shards, self._rows):
            self.copy_pages(batch)
        self._extend_all(self._to_begin, self._rows)
        # Outputs arrive a few at a time. The function that appends a text decides the last bit of
        # the result, so the choice must not depend on how many arrive together.
        self._extend_all(self._to_resume, self._few_rows)
        for batch in pages.calls(self._to_seat, self.num_shards, self._rows):
            self.seat_rows(batch)
        self._to_fill, self._to_copy, self._to_seat = [], [], []
        self._to_begin, self._to_resume = [], []

    def _extend_all(self, rounds: list[list[Piece]], rows: int) -> None:
        for nth_pieces in rounds:
            narrower = 0
            for width in self.config.prefill_buckets:
                fitting = [p for p in nth_pieces if narrower < len(p.token_ids) <= width]
                for batch in pages.calls(fitting, self.num_shards, rows):
                    self.extend(rows, width, batch)
                narrower = width

    def extend(self, rows: int, width: int, batch: list[list[Piece]]) -> None:
        D, A = self.num_shards, rows
        tables = np.zeros((D, A, self.config.pages_per_row), np.int32)
        starts = np.zeros((D, A), np.int32)
        token_ids = np.zeros((D, A, width), np.int32)
        for d, some in enumerate(batch):
            for a, piece in enumerate(some):
                tables[d, a], starts[d, a] = piece.table, piece.start
                token_ids[d, a, : len(piece.token_ids)] = piece.token_ids
        arrays = (self.params, self.device, tables, starts, token_ids)
        self.device = extend.extend(*arrays, config=self.model, layout=self.layout)

    def copy_pages(self, batch: list[list[PageCopy]]) -> None:
        numbers = np.zeros((2, self.num_shards, self._rows), np.int32)
        for d, copies in enumerate(batch):
            for a, copy in enumerate(copies):
                numbers[:, d, a] = copy.source, copy.target
        self.device = extend.copy_pages(
            self.device, *numbers, num_layers=self.model.num_layers, layout=self.layout
        )

    def seat_rows(self, batch: list[list[Conversation]]) -> None:
        D, A, M = self.num_shards, self._rows, self.config.pages_per_row

        def filled(value: int | float, dtype: type, *shape: int) -> Any:  # jit takes numpy's arrays
            return np.full((D, A, *shape), value, dtype)

        numbers = filled(self.config.rows(D), np.int32)
        given = self.sampling
        rows = Rows(
            tables=filled(0, np.int32, M),
            last=filled(0, np.int32),
            lengths=filled(0, np.int32),
            limits=filled(self.config.max_length, np.int32),
            keys=filled(0, np.uint32, 2),
            temperatures=filled(given.temperature, np.float32),
            truncation=Truncation(
                filled(given.top_k, np.int32),
                filled(given.top_p, np.float32),
                filled(given.min_p, np.float32),
            ),
            halts=filled(int(END), np.uint8),
        )
        for d, conversations in enumerate(batch):
            for a, one in enumerate(conversations):
                numbers[d, a], rows.tables[d, a], rows.keys[d, a] = one.row, one.table, one.key
                rows.last[d, a], rows.lengths[d, a] = one.newest, one.length
                rows.limits[d, a] = one.limit
                rows.halts[d, a] |= HALT * one.watched | OPEN * one.request.ends_at_fence
        self.device = extend.seat(self.device, numbers, rows, layout=self.layout)

    def decode(self, max_emptied: int, max_steps: int | None = None) -> Log:
        """Starts a decode call and returns its log, to be read later."""
        steps = self.config.chunk if max_steps is None else max_steps
        arrays = (self.params, self.device, self.flags, np.int32(steps), np.int32(max_emptied))
        self.device, log = decode.decode(
            *arrays, config=self.model, chunk=self.config.chunk, layout=self.layout
        )
        return log

    def read(self, log: Log) -> list[tuple[Conversation, Sampled]]:
        """Waits for a call; what it sampled, by conversation. Stopped rows are the host's again."""
        host = Log(*jax.device_get(log))
        steps = int(host.steps)
        self.stats.steps += steps
        self.stats.slot_steps += steps * self.config.slots
        found: list[tuple[Conversation, Sampled]] = []
        for shard in range(self.num_shards):
            found += self._read_shard(shard, [np.asarray(x)[:steps, shard] for x in host[:-1]])
        return found

    def _read_shard(
        self, shard: int, columns: Sequence[np.ndarray]
    ) -> list[tuple[Conversation, Sampled]]:
        taken = columns[0] >= 0  # in order of steps, then of slots
        rows, tokens, logprobs, full, margins, stopped = (x[taken] for x in columns)
        self.stats.sampled_tokens += len(rows)
        self.stats.near_ties += int((margins < NEAR_TIE).sum())
        order = np.argsort(rows, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(rows[order]) > 0]) if len(rows) else []
        found = []
        for where in np.split(order, starts[1:]) if len(rows) else []:
            key = (shard, int(rows[where[0]]))
            sampled = Sampled(tokens[where], logprobs[where], full[where], bool(stopped[where[-1]]))
            found.append((self.by_row[key], sampled))
            if sampled.stopped:
                del self.by_row[key]
        return found

    def compile_all(self) -> int:
        """Calls every function once on no rows, which compiles it; returns how many there are."""
        shapes = list(itertools.product({self._rows, self._few_rows}, self.config.prefill_buckets))
        for rows, width in shapes:
            self.extend(rows, width, [[] for _ in self.shards])
        self.copy_pages([[] for _ in self.shards])
        self.seat_rows([[] for _ in self.shards])
        jax.block_until_ready(self.decode(0, 0))
        return len(shapes) + 3
