"""The conversation between model and interpreter, for many rollouts at once.

While the device decodes, the host reads the tokens of the call before, starts the programs that
they close, and prepares the rows whose outputs have arrived. A conversation whose program is still
running occupies no decode slot, so the others go on. What is sampled does not depend on when a
program returns: a row's numbers are the same, to the last bit, whatever rows are beside it.
"""

import collections
import concurrent.futures
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Sequence

import jax

from acim_jax import rng
from acim_jax.environment.executor import Executor
from acim_jax.environment.server import ExecutorFailure
from acim_jax.markup import fences, outputs
from acim_jax.model import transformer
from acim_jax.records import (
    Author,
    Episode,
    ExecutionResult,
    RolloutRequest,
    SamplingParams,
    Segment,
    Status,
    Stop,
)
from acim_jax.rollout.conversation import Conversation, merge_model_segments
from acim_jax.rollout.engine import Engine, RolloutStats
from acim_jax.rollout.progress import SILENT, Progress
from acim_jax.rollout.sampler import Sampler
from acim_jax.sampling.decode import Log

log = logging.getLogger(__name__)


#: A decode call is kept to about so many seconds: until it ends, nothing reacts to a program that
#: has returned, or to Ctrl-C.
CALL_S = 2.0

#: Called with a rollout that is finished, not scored.
OnEpisode = Callable[[RolloutRequest, Episode], None]
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
    sampling: SamplingParams,
    progress: Progress = SILENT,
    on_episode: OnEpisode = lambda request, episode: None,
    on_segment: OnSegment = lambda request, segment: None,
) -> tuple[list[Episode], RolloutStats]:
    """One episode per request, in the order of the requests.

    executor None: code is not run and a closing fence is ordinary text. The code of a text-guided
    rollout is never run. temperature 0 is greedy; such episodes cannot be trained on. on_episode
    receives each episode as it finishes. on_segment receives all tokens, prompts included; those of
    the model after at most `SamplingConfig.chunk` steps. Requests with the same prompt should be
    neighbours: their prompt is computed once.
    """
    engine = Engine(params, sampler, sampling)
    loop = _Loop(engine, sampler, executor, sampling, progress, on_episode, on_segment)
    everyone = [loop.open(request, seed, iteration) for request in requests]
    loop.run(c for c in everyone if c.stop is None)
    return [loop.episodes[id(c)] for c in everyone], engine.stats


def _close(one: Conversation, sampler: Sampler, sampling: SamplingParams) -> Episode:
    assert one.stop is not None
    ids = one.response_ids()
    if one.stop is Stop.EOS and sampler.ends[ids[-1]]:
        ids = ids[:-1]
    text = sampler.tokenizer.decode(ids)
    return Episode(
        problem_id=one.request.problem.id,
        guide=one.request.guide,
        index=one.request.index,
        segments=tuple(merge_model_segments(one.segments)),
        executions=tuple(one.executions),
        stop=one.stop,
        sampling=sampling,
        fences_opened=fences.count_opened(text, sampler.markup),
        text=text,
    )


@dataclasses.dataclass
class _Loop:
    """Who waits for what: a row, tokens, or a program.

    episodes: of those that ended, by their identity. prompts: conversations by their prompt;
    followers: those of them that have no row yet.
    """

    engine: Engine
    sampler: Sampler
    executor: Executor | None
    sampling: SamplingParams
    progress: Progress
    on_episode: OnEpisode
    on_segment: OnSegment
    episodes: dict[int, Episode] = dataclasses.field(default_factory=dict[int, Episode])
    waiting: collections.deque[Conversation] = dataclasses.field(default_factory=collections.deque)
    prompts: collections.Counter[bytes] = dataclasses.field(default_factory=collections.Counter)
    followers: collections.Counter[bytes] = dataclasses.field(default_factory=collections.Counter)
    running: list[Conversation] = dataclasses.field(default_factory=list)
    #: Seconds a step of the last two calls: the slower one may have been compiled.
    paces: collections.deque[float] = dataclasses.field(
        default_factory=lambda: collections.deque([0.0], maxlen=2)
    )

    def open(self, request: RolloutRequest, seed: int, iteration: int) -> Conversation:
        tokenizer, markup = self.sampler.tokenizer, self.sampler.markup
        given = [Segment(Author.PROMPT, tokenizer.prompt_ids(request.problem.question, markup))]
        if request.prefix:
            given.append(Segment(Author.FORCED, tokenizer.encode(request.prefix)))
        limit = self.sampler.config.max_length
        if request.max_tokens is not None:
            limit = min(limit, len(given[0].token_ids) + request.max_tokens)
        key = rng.rollout_key(seed, iteration, request.problem.id, request.guide, request.index)
        runs_code = self.executor is not None and request.guide != "text"
        text_stops = bool(tokenizer.text_stops(markup))
        one = Conversation(request, key, given, limit, runs_code, text_stops)
        if not 0 < one.length < limit:
            self._end(one, Stop.PROMPT)
        return one

    def run(self, conversations: Iterable[Conversation]) -> None:
        self.waiting.extend(conversations)
        self.prompts.update(one.prompt_ids.tobytes() for one in self.waiting)
        self.followers = self.prompts.copy()
        engine, pending = self.engine, None
        try:
            while self.waiting or self.running or engine.by_row or pending is not None:
                self._collect()
                self._admit()
                engine.flush()
                started = self._decode() if engine.by_row else None
                if pending is not None:
                    self._read(pending)
                elif started is None and self.running:
                    self._wait()
                pending = started
        finally:
            for one in self.running:
                if one.program is not None:  # Ctrl-C can come between a result and its use
                    one.program.cancel()

    def _admit(self) -> None:
        while self.waiting and self.engine.has_room:
            one = self.waiting.popleft()
            key = one.prompt_ids.tobytes()
            self.followers[key] -= 1
            shares = self.prompts[key] > 1
            self.engine.admit(one, shares=shares, followers=self.followers[key])
            for segment in one.segments:
                self.on_segment(one.request, segment)
            self.engine.seat(one)

    def _collect(self) -> None:
        """Takes the results of the programs that have ended."""
        still: list[Conversation] = []
        for one in self.running:
            assert one.program is not None
            if not one.program.done():
                still.append(one)
                continue
            program, one.program = one.program, None
            try:
                result = program.result()
            except ExecutorFailure as failure:
                self._lose(one, failure)
                continue
            one.executions.append(result)
            if result.status is Status.INFRA:
                self._lose(one)
            else:
                self._resume(one, result)
        self.running = still

    def _resume(self, one: Conversation, result: ExecutionResult) -> None:
        output = outputs.render_output(result, self.sampler.markup)
        ids = self.sampler.tokenizer.output_ids(output, self.sampler.markup)
        if one.length + len(ids) >= one.limit:
            self._leave(one, Stop.LENGTH)
            return
        segment = Segment(Author.OUTPUT, ids)
        one.append(segment)
        self.on_segment(one.request, segment)
        self.engine.seat(one)

    def _decode(self) -> Log:
        self.engine.stats.calls += 1
        # While others wait for a row, a call returns once an eighth of its slots are empty.
        config, pace = self.sampler.config, min(self.paces)
        emptied = max(1, config.slots // 8) if self.waiting else config.slots
        steps = config.chunk if pace == 0 else min(config.chunk, max(1, int(CALL_S / pace)))
        return self.engine.decode(emptied, steps)

    def _wait(self) -> None:
        """Waits for the first program to end; there is nothing to decode."""
        started = time.perf_counter()
        programs = [one.program for one in self.running if one.program is not None]
        concurrent.futures.wait(programs, return_when=concurrent.futures.FIRST_COMPLETED)
        self.engine.stats.execute_s += time.perf_counter() - started

    def _read(self, tokens: Log) -> None:
        started = time.perf_counter()
        jax.block_until_ready(tokens)
        waited = time.perf_counter() - started
        self.engine.stats.device_s += waited
        self.paces.append(waited / max(int(tokens.steps), 1))
        is_cut = self.sampling.is_truncated
        read = self.engine.read(tokens)
        self.progress.decoded(sum(len(s.token_ids) for _, s in read), len(self.engine.by_row))
        for one, sampled in read:
            self.on_segment(one.request, one.take(sampled, keep_full=is_cut))
            if sampled.stopped:
                self._look(one)

    def _look(self, one: Conversation) -> None:
        """Decides what a stopped row does next: ends, runs its program, or decodes on."""
        tokenizer, markup = self.sampler.tokenizer, self.sampler.markup
        stops = one.has_text_stops
        if self.sampler.ends[one.newest] or (
            stops and tokenizer.ends_response(one.newest_model_ids(), markup)
        ):
            self._leave(one, Stop.EOS)
            return
        if one.request.ends_at_fence and tokenizer.opens_program(one.newest_model_ids(), markup):
            self._leave(one, Stop.BROKE_GUIDE)
            return
        runs = one.runs_code
        program = tokenizer.closed_program(one.response_ids(), markup) if runs else None
        if one.length >= one.limit:
            self._leave(one, Stop.LENGTH)
        elif program is None:
            self.engine.seat(one)
        elif len(one.executions) >= markup.max_turns:
            self._leave(one, Stop.TURNS)
        else:
            self._start(one, program)

    def _start(self, one: Conversation, program: str) -> None:
        assert self.executor is not None
        earlier = [e.code for e in one.executions if e.status is Status.OK]
        try:
            if self.sampler.markup.stateful and earlier:
                one.program = self.executor.submit(program, earlier=earlier)
            else:
                one.program = self.executor.submit(program)
        except ExecutorFailure as failure:
            self._lose(one, failure)
        else:
            self.running.append(one)

    def _lose(self, one: Conversation, failure: ExecutorFailure | None = None) -> None:
        """Ends the episode whose program the executor lost."""
        self.engine.stats.infra += 1
        if failure is not None:
            self.engine.stats.refused += 1
            log.error("a program could not be run: %s", failure)
        self._leave(one, Stop.INFRA)

    def _leave(self, one: Conversation, stop: Stop) -> None:
        self.engine.release(one)
        self._end(one, stop)

    def _end(self, one: Conversation, stop: Stop) -> None:
        one.stop = stop
        episode = self.episodes[id(one)] = _close(one, self.sampler, self.sampling)
        self.on_episode(one.request, episode)
        self.progress.finished()
