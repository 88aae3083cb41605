"""Conversations of a nearly random model with an interpreter: what episodes hold, and on what
they do not depend."""

import dataclasses
import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import Future

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.environment.server import ExecutorFailure
from acim_jax.model import scoring, transformer
from acim_jax.records import (
    Author,
    Episode,
    ExecutionResult,
    SamplingParams,
    Segment,
    Status,
    Stop,
)
from acim_jax.rollout import converse, journal, processes
from acim_jax.run import compilation
from tests.support import tiny_models
from tests.support.tiny_models import CHATTY, CONFIG, ScriptedExecutor, requests, run

PAD, END, USER, ASSISTANT = 0, 1, 2, 3


def rescored(episodes, params, config, temperature, width=72) -> list[np.ndarray]:
    """log π of all tokens of each episode, by one full forward pass without a cache."""
    token_ids = np.zeros((len(episodes), width), np.int32)
    for row, episode in zip(token_ids, episodes, strict=True):
        row[: episode.num_tokens] = episode.token_ids
    score = jax.jit(lambda p, ids: scoring.token_logprobs(p, config, ids, temperature=temperature))
    logprobs = np.asarray(score(params, jnp.asarray(token_ids)))
    return [row[: e.num_tokens] for row, e in zip(logprobs, episodes, strict=True)]


def pieces(episode: Episode) -> list[tuple[Segment, slice]]:
    ends = np.cumsum([len(s.token_ids) for s in episode.segments])
    return [
        (s, slice(int(e) - len(s.token_ids), int(e)))
        for s, e in zip(episode.segments, ends, strict=True)
    ]


def given_tokens(episodes) -> int:
    """What must be computed of given text: of every problem's prompt all but the token that
    decoding starts from, once; of prefixes and outputs every token."""
    prompts = {e.problem_id: len(e.segments[0].token_ids) - 1 for e in episodes}
    ours = [s for e in episodes for s in e.segments if s.author in (Author.FORCED, Author.OUTPUT)]
    return sum(prompts.values()) + sum(len(s.token_ids) for s in ours)


@pytest.fixture(scope="module")
def made() -> tuple[list[Episode], converse.RolloutStats]:
    return run(tiny_models.make_sampler(), requests())


@pytest.mark.parametrize("unroll", [False, None])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_stored_logprobs_are_those_of_the_trainer(unroll: bool | None, temperature: float):
    config = dataclasses.replace(CONFIG, unroll=unroll)
    params = tiny_models.make_params(config)
    sampler = tiny_models.make_sampler(config)
    wanted = requests(rollouts=8)
    episodes, stats = run(sampler, wanted, params=params, temperature=temperature)
    after_output, sampled = 0, []
    for episode, logprobs in zip(
        episodes, rescored(episodes, params, config, temperature), strict=True
    ):
        authors = [s.author for s in episode.segments]
        for i, (segment, where) in enumerate(pieces(episode)):
            assert (segment.logprobs is not None) == (segment.author is Author.MODEL)
            if segment.author is Author.MODEL:
                assert segment.logprobs is not None
                np.testing.assert_allclose(segment.logprobs, logprobs[where], rtol=0, atol=1e-5)
                after_output += len(segment.token_ids) if Author.OUTPUT in authors[:i] else 0
                sampled += segment.token_ids.tolist()
    assert after_output > 100, "too few tokens behind interpreter output to show anything"
    assert PAD in sampled and {USER, ASSISTANT} & set(sampled), "no special ids inside text"
    assert stats.sampled_tokens == len(sampled)
    assert stats.prefill_tokens == given_tokens(episodes)


def test_greedy_takes_the_best_token():
    params = tiny_models.make_params()
    episodes, _ = run(tiny_models.make_sampler(), requests(2, 1), temperature=0.0)
    expected = rescored(episodes, params, CONFIG, 1.0)

    @jax.jit
    def best_next(token_ids):
        positions = jnp.broadcast_to(jnp.arange(token_ids.shape[1]), token_ids.shape)
        hidden, _ = transformer.forward(params, CONFIG, token_ids, positions)
        return transformer.unembed(params, CONFIG, hidden).argmax(-1)

    for episode, logprobs in zip(episodes, expected, strict=True):
        best = np.asarray(best_next(np.resize(episode.token_ids, (1, 72))))[0]
        for segment, where in pieces(episode):
            if segment.author is Author.MODEL:
                before = slice(where.start - 1, where.stop - 1)
                np.testing.assert_array_equal(segment.token_ids, best[before])
                np.testing.assert_allclose(segment.logprobs, logprobs[where], rtol=0, atol=1e-5)


def by_identity(episodes: list[Episode]) -> dict[tuple[str, str, int], Episode]:
    return {(e.problem_id, e.guide, e.index): e for e in episodes}


@pytest.mark.parametrize(
    "settings",
    [
        {"slots": 3, "spare": 0},
        {"slots": 16, "page_size": 7},
        {"slots": 4, "spare": 30, "page_size": 128},
        {"slots": 64},
        {"chunk": 5},
        {"prefill_rows": 2, "prefill_buckets": (5,)},
        {"prefill_buckets": (64,)},
    ],
)
def test_nothing_depends_on_the_samplers_shapes(made, settings: dict):
    """Nor on the order of the requests. Other shapes sum in another order, so near ties may fall
    otherwise: they are counted by the sampler, and only they may."""
    wanted = requests()
    order = np.random.default_rng(0).permutation(len(wanted))
    episodes, stats = run(tiny_models.make_sampler(**settings), [wanted[i] for i in order])
    assert [(e.problem_id, e.index) for e in episodes] == [
        (wanted[i].problem.id, wanted[i].index) for i in order
    ]
    ours, others = by_identity(made[0]), by_identity(episodes)
    assert ours.keys() == others.keys()
    different = 0
    for identity, one in ours.items():
        other = others[identity]
        if not np.array_equal(one.token_ids, other.token_ids):
            different += 1
            continue
        assert [s.author for s in one.segments] == [s.author for s in other.segments]
        assert (one.stop, one.text, one.executions) == (other.stop, other.text, other.executions)
        for mine, theirs in zip(one.segments, other.segments, strict=True):
            if mine.author is Author.MODEL:
                np.testing.assert_allclose(mine.logprobs, theirs.logprobs, rtol=0, atol=1e-5)
    assert different <= made[1].near_ties + stats.near_ties


class LateExecutor(ScriptedExecutor):
    """Its programs return after a time drawn from `seed`, in another order than they came."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.draw = np.random.default_rng(seed)

    def submit(self, code: str, timeout_s: float | None = None) -> Future[ExecutionResult]:
        done, late = super().submit(code, timeout_s), Future()
        delay = float(self.draw.choice([0.0, 0.003, 0.03]))
        threading.Timer(delay, lambda: late.set_result(done.result())).start()
        return late


@pytest.mark.parametrize("seed", [0, 1])
def test_when_programs_return_changes_nothing(made, seed: int):
    """Not even the last bit, and near ties are no excuse."""
    episodes, stats = run(tiny_models.make_sampler(), requests(), LateExecutor(seed))
    assert sum(len(e.executions) for e in episodes) > 10
    for one, other in zip(made[0], episodes, strict=True):
        np.testing.assert_array_equal(one.token_ids, other.token_ids)
        assert (one.stop, one.text) == (other.stop, other.text)
        for mine, theirs in zip(one.segments, other.segments, strict=True):
            assert mine.author is theirs.author
            if mine.author is Author.MODEL:
                np.testing.assert_array_equal(mine.logprobs, theirs.logprobs)
    assert stats.prefill_tokens == made[1].prefill_tokens == given_tokens(episodes)


def test_other_conversations_go_on_while_a_program_runs():
    """All text rollouts end while every program of the code rollouts is still running."""
    ended = threading.Event()
    finished: list[int] = []

    class Held(ScriptedExecutor):
        def submit(self, code: str, timeout_s: float | None = None) -> Future[ExecutionResult]:
            done, late = super().submit(code, timeout_s), Future()
            threading.Thread(
                target=lambda: (ended.wait(60), late.set_result(done.result()))
            ).start()
            return late

    wanted = [r for r in requests(2, 4) if r.guide != "native"]
    texts = sum(r.guide == "text" for r in wanted)

    def on_episode(*_: object) -> None:
        finished.append(1)
        if len(finished) >= texts:
            ended.set()

    episodes, _ = converse.converse(
        tiny_models.make_params(),
        wanted,
        tiny_models.make_sampler(slots=4, spare=8),
        Held(),
        seed=3,
        iteration=1,
        sampling=SamplingParams(1.0),
        on_episode=on_episode,
    )
    assert len(finished) == len(wanted)
    assert any(e.executions for e in episodes)


def test_slow_decode_calls_are_cut_short_and_change_nothing(monkeypatch: pytest.MonkeyPatch):
    sampler, wanted = tiny_models.make_sampler(), requests(2, 4)
    whole, stats = run(sampler, wanted)
    assert stats.steps > 1.5 * stats.calls
    monkeypatch.setattr(converse, "CALL_S", 1e-9)
    cut, stats = run(sampler, wanted)
    assert stats.calls >= stats.steps - sampler.config.chunk  # the first two calls are whole
    for one, other in zip(cut, whole, strict=True):
        assert journal.to_json(one) == journal.to_json(other)


def test_truncated_sampling_stores_both_logprobs():
    """Of the distribution drawn from, and of the one before truncation, which is the trainer's."""
    params, sampler = tiny_models.make_params(), tiny_models.make_sampler()
    episodes, _ = run(sampler, requests(2, 2), params=params, temperature=0.8, top_k=20, top_p=0.7)
    score = rescored(episodes, params, CONFIG, 0.8)
    gains = []
    for episode, logprobs in zip(episodes, score, strict=True):
        for segment, where in pieces(episode):
            if segment.author is Author.MODEL:
                assert segment.full_logprobs is not None and segment.logprobs is not None
                np.testing.assert_allclose(segment.full_logprobs, logprobs[where], atol=1e-5)
                gains += (segment.logprobs - segment.full_logprobs).tolist()
    # the kept mass is at least top_p of the 20 best, and never all
    assert min(gains) > 0 and len(gains) > 100
    whole, _ = run(sampler, requests(1, 1), params=params)
    assert all(s.full_logprobs is None for s in whole[0].segments)


def test_a_warm_sampler_never_compiles():
    """Over temperatures, truncations, seeds, stop sets, short batches, prompts of other lengths
    and other weights."""
    sampler, params = tiny_models.make_sampler(), tiny_models.make_params()
    assert processes.compile_all(params, sampler) == 7
    run(sampler, requests(1, 1), params=params)  # what the host computes by itself
    others = tiny_models.make_params(seed=1)
    stops = tiny_models.make_sampler(markup=dataclasses.replace(CHATTY, stop=("<|user|>",)))
    assert stops.flags is not sampler.flags  # made before counting
    with compilation.CompileCounter() as counter:
        run(sampler, requests(3, 2), params=params, temperature=0.7)
        run(sampler, requests(5, 1), params=others, top_p=0.9)
        run(sampler, requests(1, 1), params=params, temperature=0.0)
        run(stops, requests(2, 1), params=params, top_k=5, min_p=0.1)
    assert counter.take().executables == 0


def test_a_dead_executor_ends_its_episodes_only():
    class Dead(ScriptedExecutor):
        def submit(self, code: str, timeout_s: float | None = None) -> Future[ExecutionResult]:
            future = super().submit(code, timeout_s)
            if len(self.programs) > 3:
                future = Future()
                future.set_exception(ExecutorFailure("no server can be started"))
            return future

    episodes, stats = run(tiny_models.make_sampler(), requests(), Dead())
    stops = [e.stop for e in episodes]
    assert stats.infra == stops.count(Stop.INFRA) > 0
    assert stats.refused == stats.infra
    assert all(e.stop is not Stop.INFRA for e in episodes if e.guide == "text")


def test_a_stateful_markup_sends_the_earlier_programs_that_ended_well():
    sent: list[tuple[str, tuple[str, ...]]] = []

    class Interpreter(ScriptedExecutor):
        def submit(
            self, code: str, timeout_s: float | None = None, *, earlier: Sequence[str] = ()
        ) -> Future[ExecutionResult]:
            sent.append((code, tuple(earlier)))
            return super().submit(code, timeout_s)

    stateful = dataclasses.replace(CHATTY, stateful=True, max_turns=4)
    episodes, _ = run(tiny_models.make_sampler(markup=stateful), requests(), Interpreter())
    expected = set()
    for episode in episodes:
        for nth, execution in enumerate(episode.executions):
            well = [e.code for e in episode.executions[:nth] if e.status is Status.OK]
            expected.add((execution.code, tuple(well)))
    assert set(sent) == expected
    assert any(earlier for _, earlier in expected)


def test_int8_keys_and_values_stay_near():
    """The error of one decode step is that of rounding to 1/254 of a vector's largest entry."""
    sampler = tiny_models.make_sampler(kv_cache="int8")
    params = tiny_models.make_params()
    episodes, _ = run(sampler, requests(2, 2), params=params)
    differences = [
        np.abs(segment.logprobs - logprobs[where])
        for episode, logprobs in zip(episodes, rescored(episodes, params, CONFIG, 1.0), strict=True)
        for segment, where in pieces(episode)
        if segment.author is Author.MODEL
    ]
    worst = np.concatenate(differences)
    assert 1e-5 < worst.max() < 0.2 and worst.mean() < 0.02


def test_rollouts_of_one_problem_differ_and_repeat():
    """A draw depends on seed, iteration, problem, guide and index."""
    sampler = tiny_models.make_sampler()
    params = tiny_models.make_params()

    def first_tokens(seed: int, iteration: int) -> list[list[int]]:
        episodes, _ = converse.converse(
            params,
            [r for r in requests(1, 3) if r.guide == "native"],
            sampler,
            None,
            seed=seed,
            iteration=iteration,
            sampling=SamplingParams(1.0),
        )
        return [e.segments[1].token_ids[:6].tolist() for e in episodes]

    rows = [*first_tokens(0, 0), *first_tokens(1, 0), *first_tokens(0, 1)]
    assert len({tuple(row) for row in rows}) == 9
    assert first_tokens(0, 0) == rows[:3]


def test_how_episodes_end():
    once = dataclasses.replace(CHATTY, max_turns=1)
    tokenizer, sampler = tiny_models.load_tokenizer(), tiny_models.make_sampler(markup=once)
    episodes, _ = run(sampler, requests())
    seen = {e.stop for e in episodes}
    assert {Stop.EOS, Stop.LENGTH, Stop.TURNS} <= seen
    for episode in episodes:
        authors = [s.author for s in episode.segments]
        sampled = np.concatenate(
            [s.token_ids for s in episode.segments if s.author is Author.MODEL]
        )
        assert authors[0] is Author.PROMPT
        assert (authors[1] is Author.FORCED) == (episode.guide != "native")
        assert not any(a is b is Author.MODEL for a, b in itertools.pairwise(authors))
        assert authors.count(Author.OUTPUT) <= len(episode.executions) <= once.max_turns
        end = [END] if episode.stop is Stop.EOS else []
        assert sampled[sampled == END].tolist() == end, "an end token ends the episode"
        response = np.concatenate([s.token_ids for s in episode.segments[1:]])
        whole = tokenizer.decode(response[:-1] if end else response)
        assert episode.text == whole
        match episode.stop:
            case Stop.EOS:
                assert episode.token_ids[-1] == END
            case Stop.TURNS:
                assert len(episode.executions) == once.max_turns
                assert tokenizer.closed_program(response, once) is not None
            case Stop.LENGTH:
                assert episode.num_tokens <= sampler.config.max_length
                if authors[-1] is Author.MODEL and len(episode.executions) == authors.count(
                    Author.OUTPUT
                ):
                    assert episode.num_tokens == sampler.config.max_length
            case other:
                raise AssertionError(other)


def test_what_was_run_is_what_was_written(made):
    """Programs and the outputs shown for them, read back from the tokens."""
    tokenizer = tiny_models.load_tokenizer()
    turns = 0
    for episode in made[0]:
        if episode.guide == "text":
            assert not episode.executions
            assert episode.decision == "text"
        written, last, nth = "", "", 0
        for segment in episode.segments[1:]:
            text = tokenizer.decode(segment.token_ids)
            if segment.author is Author.OUTPUT:
                execution = episode.executions[nth]
                begin = written.rindex(execution.code + "e")
                behind = written[begin + len(execution.code) + 1 :]
                assert last.endswith("e" + behind), "the token that closed the fence is the last"
                assert written[:begin].endswith("t")
                assert "e" not in execution.code
                shown = {
                    Status.OK: f"{len(execution.code)} long",
                    Status.TIMEOUT: "[timed out]",
                    Status.ERROR: "NameError: x",
                }[execution.status]
                assert text.startswith("\n[") and text.endswith("]\n")
                assert shown in text
                nth, turns = nth + 1, turns + 1
            written += text
            last = tokenizer.decode(segment.token_ids[-1:])
    assert turns > 10


def test_a_failure_of_ours_ends_the_episode():
    episodes, _ = run(
        tiny_models.make_sampler(), requests(), ScriptedExecutor((Status.OK, Status.INFRA))
    )
    failed = [e for e in episodes if e.stop is Stop.INFRA]
    assert failed and len(failed) < len(episodes)
    for episode in episodes:
        statuses = [e.status for e in episode.executions]
        assert (episode.stop is Stop.INFRA) == (Status.INFRA in statuses)
        if episode.stop is Stop.INFRA:
            assert statuses.index(Status.INFRA) == len(statuses) - 1
            assert episode.segments[-1].author is Author.MODEL


def test_without_an_executor_a_fence_is_text():
    episodes, _ = converse.converse(
        tiny_models.make_params(),
        requests(),
        tiny_models.make_sampler(),
        None,
        seed=3,
        iteration=1,
        sampling=SamplingParams(1.0),
    )
    with_one, _ = run(tiny_models.make_sampler(), requests())
    assert {e.stop for e in episodes} == {Stop.EOS, Stop.LENGTH}
    assert not any(e.executions for e in episodes)
    assert sum(e.fences_opened for e in episodes) > 10
    for one, other in zip(episodes, with_one, strict=True):
        if one.guide == "text":
            np.testing.assert_array_equal(one.token_ids, other.token_ids)


def test_an_output_that_does_not_fit_ends_the_episode():
    """The prompt takes up to 20 tokens and the output about 20, of 36."""
    sampler = tiny_models.make_sampler(max_length=36)
    executor = ScriptedExecutor((Status.TIMEOUT,))
    episodes, _ = run(sampler, requests(), executor)
    cut = [e for e in episodes if len(e.executions) > sum(s.author == 3 for s in e.segments)]
    assert cut
    for episode in cut:
        assert episode.stop is Stop.LENGTH
        assert episode.segments[-1].author is Author.MODEL
        assert episode.decision == "code"
    assert all(e.num_tokens <= 36 for e in episodes)


def test_prompts_that_do_not_fit():
    """One token of room is enough for an episode of one sampled token, none is not."""
    tokenizer = tiny_models.load_tokenizer()
    wanted = [r for r in requests(3, 1) if r.guide == "native"]
    lengths = [len(tokenizer.prompt_ids(r.problem.question, CHATTY)) for r in wanted]
    assert sorted(set(lengths)) == lengths
    finished = []
    episodes, _ = converse.converse(
        tiny_models.make_params(),
        wanted,
        tiny_models.make_sampler(max_length=lengths[1]),
        None,
        seed=0,
        iteration=0,
        sampling=SamplingParams(1.0),
        on_episode=lambda *_: finished.append(1),
    )
    assert [e.stop for e in episodes] == [Stop.LENGTH, Stop.PROMPT, Stop.PROMPT]
    assert [e.num_model_tokens for e in episodes] == [lengths[1] - lengths[0], 0, 0]
    assert [e.num_tokens for e in episodes] == [lengths[1], *lengths[1:]]
    assert len(finished) == 3


def test_no_requests():
    episodes, stats = run(tiny_models.make_sampler(), [])
    assert episodes == [] and stats.sampled_tokens == 0


def test_a_rollout_that_breaks_its_guide_ends_with_the_fence():
    """The tokens are those of a rollout that may go on, up to the one that opens a fence."""
    wanted = [request for request in requests(3, 8) if request.guide == "text"]
    free, _ = run(tiny_models.make_sampler(), wanted)
    bound = [dataclasses.replace(request, ends_at_fence=True) for request in wanted]
    ended, _ = run(tiny_models.make_sampler(), bound)
    tokenizer = tiny_models.load_tokenizer()
    broken = 0
    for one, other in zip(ended, free, strict=True):
        np.testing.assert_array_equal(one.token_ids, other.token_ids[: one.num_tokens])
        model = one.segments[-1].token_ids
        opens = [CHATTY.code_open in tokenizer.decode(model[: n + 1]) for n in range(len(model))]
        if one.stop is Stop.BROKE_GUIDE:
            broken += 1
            assert opens.index(True) == len(model) - 1
        else:
            assert one.stop is other.stop and not any(opens)
            np.testing.assert_array_equal(one.token_ids, other.token_ids)
    assert 5 < broken < len(ended)
