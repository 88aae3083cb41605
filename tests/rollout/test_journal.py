"""The journal of finished rollouts: what it keeps, and what a restart makes again."""

from pathlib import Path
from typing import Any

import pytest

from acim_jax.records import Episode, RolloutRequest, SamplingParams, Stop
from acim_jax.rollout import converse, journal, processes
from acim_jax.rollout.journal import Journal
from tests.support import tiny_models


def make(kept: Journal) -> list[Episode]:
    episodes, _ = processes.converse(
        tiny_models.make_params(),
        tiny_models.requests(),
        tiny_models.make_sampler(),
        tiny_models.ScriptedExecutor(),
        seed=3,
        iteration=1,
        sampling=SamplingParams(1.0),
        journal=kept,
    )
    return episodes


def same(one: Episode, other: Episode) -> bool:
    return journal.to_json(one) == journal.to_json(other)


@pytest.mark.parametrize("spoilt", ["half", "zeros", "another"])
def test_only_what_is_missing_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
):
    path = tmp_path / "journal.jsonl"
    with journal.opened(path, {"iteration": 1}) as kept:
        first = make(kept)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + len(first)
    rest = {"half": lines[21][:100], "zeros": b"\0" * 50 + b"\n", "another": b"{}\n"}[spoilt]
    path.write_bytes(b"".join(lines[:21]) + rest)  # 20 rollouts, and what a crash left

    asked: list[RolloutRequest] = []
    original = converse.converse

    def counted(params: object, requests: list[RolloutRequest], *args: Any, **kwargs: Any) -> Any:
        asked.extend(requests)
        return original(params, requests, *args, **kwargs)

    monkeypatch.setattr(converse, "converse", counted)
    with journal.opened(path, {"iteration": 1}) as kept:
        again = make(kept)
    assert len(asked) == len(first) - 20
    assert all(map(same, again, first))
    with journal.opened(path, {"iteration": 1}) as kept:
        assert all(kept.get(request) is not None for request in tiny_models.requests())


def test_a_journal_of_something_else_is_begun_anew(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    (request, *_) = tiny_models.requests()
    episode = Episode(request.problem.id, request.guide, 0, (), (), Stop.EOS, SamplingParams())
    with journal.opened(path, {"iteration": 1}) as kept:
        kept.add(request, episode)
        assert kept.get(request) is None, "it was made in this very call"
    with journal.opened(path, {"iteration": 1}) as kept:
        assert kept.get(request) is not None
    with journal.opened(path, {"iteration": 2}) as kept:
        assert kept.get(request) is None
    with journal.opened(path, {"iteration": 1}) as kept:
        assert kept.get(request) is None


def test_rollouts_that_our_executor_failed_are_made_again(tmp_path: Path):
    (request, *_) = tiny_models.requests()
    failed = Episode(request.problem.id, request.guide, 0, (), (), Stop.INFRA, SamplingParams())
    for _ in range(2):
        with journal.opened(tmp_path / "journal.jsonl", {}) as kept:
            assert kept.get(request) is None
            kept.add(request, failed)


def test_the_time_spent_is_summed_over_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    request, other, *_ = tiny_models.requests()
    episode = Episode(request.problem.id, request.guide, 0, (), (), Stop.EOS, SamplingParams())
    with journal.opened(tmp_path / "journal.jsonl", {}) as kept:
        now[0] += 7
        kept.add(request, episode)
        now[0] += 50  # lost with the rollouts in flight
    with journal.opened(tmp_path / "journal.jsonl", {}) as kept:
        now[0] += 2
        kept.add(other, episode)
        assert kept.seconds == 9
