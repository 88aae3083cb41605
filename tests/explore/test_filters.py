"""Filters of rollouts and groups: what each takes out, what stays in the baseline, the counts."""

import collections
import dataclasses

import numpy as np
import pytest

from acim_jax.explore import curate, filters
from acim_jax.explore.config import ExploreConfig
from acim_jax.records import DecisionValues, Episode, ExecutionResult, Status, Stop
from tests.support.episodes import make_episode

NAN = np.full((2,), np.nan)


def episode(reward: float, *statuses: Status, guide="native", index=0, answer="7", stop=Stop.EOS):
    executions = tuple(ExecutionResult("1", "", "", status, 0.1) for status in statuses)
    one = make_episode("p", guide, reward, index=index, stop=stop)
    return dataclasses.replace(one, executions=executions, answer=answer)


def run(episodes, config: ExploreConfig, *, share=(0.5, 0.5), advantage="centred", seed=0):
    strategies = {"p": np.array(share)} if config.guided_rollouts else {}
    kept, counts = curate.examples(
        episodes,
        [DecisionValues("p", NAN, NAN, NAN, NAN, 1.0, NAN)],
        strategies,
        config,
        advantage=advantage,
        fits=lambda e: True,
        seed=seed,
        iteration=1,
    )
    assert counts.rollouts == len(episodes) == counts.kept + sum(counts.dropped.values())
    return kept, counts, {reason.value: n for reason, n in counts.dropped.items() if n}


def natives(**settings) -> ExploreConfig:
    return ExploreConfig(guided_rollouts=0, native_rollouts=8, **settings)


OK, ERROR, INFRA = Status.OK, Status.ERROR, Status.INFRA


@pytest.mark.parametrize(
    ("setting", "reason", "refused", "accepted"),
    [
        (
            "drop_truncated",
            "truncated",
            [episode(0.0, stop=Stop.LENGTH)],
            [episode(0.0), episode(0.0, OK, stop=Stop.TURNS)],
        ),
        (
            "drop_void",
            "void",
            [episode(0.0, answer=None), episode(0.0, OK, answer=None, stop=Stop.LENGTH)],
            [episode(0.0), episode(0.0, OK, answer=None, stop=Stop.TURNS)],
        ),
        (
            "drop_calls_failed",
            "calls_failed",
            [episode(0.0, ERROR), episode(1.0, Status.TIMEOUT, Status.BLOCKED, INFRA)],
            [episode(0.0), episode(0.0, ERROR, OK), episode(0.0, INFRA)],
        ),
    ],
)
def test_what_a_filter_takes_out_of_the_loss(setting, reason, refused, accepted):
    for one in [*refused, *accepted]:
        assert filters.refusal(one, ExploreConfig()) is None
        expected = reason if one in refused else None
        assert filters.refusal(one, ExploreConfig(**{setting: True})) == expected


@pytest.mark.parametrize(
    ("in_baseline", "advantages", "drawn"),
    [(True, [0.75, -0.25], 4 * 3), (False, [0.5, -0.5], 2 * 3)],
)
def test_refused_rollouts_count_in_the_baseline_or_not(in_baseline, advantages, drawn):
    """One of four is right, two of the wrong ones ran out of room; three target tokens each."""
    episodes = [
        episode(1.0),
        episode(0.0, stop=Stop.LENGTH),
        episode(0.0),
        episode(0.0, stop=Stop.LENGTH),
    ]
    config = natives(drop_truncated=True, filtered_in_baseline=in_baseline)
    kept, counts, dropped = run(episodes, config)
    assert [one.advantage for one in kept] == advantages
    assert dropped == {"truncated": 2}
    assert counts.drawn_tokens == drawn


@pytest.mark.parametrize(
    ("band", "learned"),
    [((0.0, 1.0), "abc"), ((0.25, 0.75), "ab"), ((0.3, 0.7), "b"), ((0.6, 1.0), "c")],
)
def test_groups_outside_the_band_are_dropped(band, learned):
    rights = {"a": 2, "b": 4, "c": 7}  # of eight
    for name, right in rights.items():
        group = [episode(float(i < right), index=i) for i in range(8)]
        kept, counts, dropped = run(group, natives(accuracy_band=band, reward_wrong=-1.0))
        assert (len(kept), counts.drawn_tokens) == (8 * (name in learned), 24)
        assert dropped == ({} if name in learned else {"out_of_band": 8})


def test_of_the_right_ones_the_clean_are_preferred():
    """Over 400 seeds: how many are right stays as it falls (4·5/8 on average), the wrong are drawn
    evenly, and of the right ones it is always those with the fewest failed calls."""
    failed = (0, 3, 1, 2, 1)
    right = [episode(1.0, *[ERROR] * n, OK, index=i) for i, n in enumerate(failed)]
    group = [*right, *[episode(0.0, *[ERROR] * n, index=5 + n) for n in range(3)]]
    met, sizes = collections.Counter[int](), []
    for seed in range(400):
        kept, _, _ = run(group, natives(native_keep=4, prefer_clean=True), seed=seed)
        plain, counts, _ = run(group, natives(native_keep=4), seed=seed)
        assert len(kept) == len(plain) == 4 and counts.drawn_tokens == 4 * 3
        chosen = [one.episode for one in kept]
        assert {e.index for e in chosen if not e.reward} == {
            one.episode.index for one in plain if not one.episode.reward
        }
        clean = sorted(e.failed_calls for e in chosen if e.reward)
        assert clean == [0, 1, 1, 2, 3][: len(clean)]
        sizes.append(len(clean))
        met.update(e.index for e in chosen)
    assert abs(np.mean(sizes) - 2.5) < 4 * np.std(sizes) / np.sqrt(400)
    error = np.sqrt(0.25 / 400)
    assert all(abs(met[i] / 400 - 0.5) < 4 * error for i in (5, 6, 7))


def guided() -> list[Episode]:
    """Text is right once, code three times, of four."""
    return [
        episode(float(i < right), guide=guide, index=i)
        for guide, right in (("text", 1), ("code", 3))
        for i in range(4)
    ]


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("rloo", (1.0, -1 / 3), (1 / 3, -1.0)),
        ("exact_em", (3.0, -1.0), (1 / 3, -1.0)),
        ("maxrl", (1.0, -1.0), (1.0, -1.0)),  # half of the eight are right
        ("whitened", (0.5 / 0.5001, -0.5 / 0.5001), (0.5 / 0.5001, -0.5 / 0.5001)),
    ],
)
def test_over_which_rollouts_an_advantage_is_taken(name, text, code):
    kept, _, _ = run(guided(), ExploreConfig(keep=0), advantage=name)
    assert len(kept) == 8
    for one in kept:
        right, wrong = text if one.episode.guide == "text" else code
        assert one.advantage == pytest.approx(right if one.episode.reward else wrong, rel=1e-12)


def test_a_guide_that_agrees_has_an_advantage_over_the_query_only():
    episodes = [e for e in guided() if e.guide == "code" or not e.reward]
    _, _, within = run(episodes, ExploreConfig(keep=0), advantage="exact_em")
    assert within == {"all_agree": 3}
    kept, _, over = run(episodes, ExploreConfig(keep=0), advantage="maxrl")
    assert (len(kept), over) == (7, {})
    assert {one.advantage for one in kept if one.episode.guide == "text"} == {-1.0}


def test_rejection_keeps_the_right_ones_alone():
    """All right or some: what is right has advantage 1, what is wrong is rejected; with ±1 nothing
    is, and a group that is wrong throughout has a signal as well."""
    episodes = [episode(r, index=i) for i, r in enumerate((1.0, 0.0, 1.0, 0.0))]
    kept, counts, dropped = run(episodes, natives(), advantage="reward")
    assert [(one.episode.index, one.advantage) for one in kept] == [(0, 1.0), (2, 1.0)]
    assert dropped == {"rejected": 2}
    assert counts.drawn_tokens == sum(e.num_model_tokens for e in episodes)
    kept, _, dropped = run(episodes[::2], natives(), advantage="reward")
    assert ([one.advantage for one in kept], dropped) == ([1.0, 1.0], {})
    assert run(episodes[1::2], natives(), advantage="reward")[2] == {"all_agree": 2}
    kept, _, _ = run(episodes[1::2], natives(reward_wrong=-1.0), advantage="reward")
    assert [one.advantage for one in kept] == [-1.0, -1.0]


def test_long_responses_are_counted_and_have_an_advantage_of_their_own():
    """All are right; one of four is 6 tokens long, half into the buffer."""
    episodes = [make_episode("p", "native", 1.0, index=i, tokens=4) for i in range(3)]
    episodes.append(make_episode("p", "native", 1.0, index=3, tokens=7))
    kept, counts, _ = run(episodes, natives(overlong_limit=8, overlong_buffer=4))
    assert [one.advantage for one in kept] == [0.125, 0.125, 0.125, -0.375]
    assert counts.overlong == 1
    _, counts, dropped = run(episodes, natives())
    assert (counts.overlong, dropped) == (0, {"all_agree": 4})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"native_keep": 1}, "native_keep must lie between 0 .all. and native_rollouts = 0, got 1"),
        ({"keep": 0, "prefer_clean": True}, "prefer_clean chooses among rollouts that are drawn"),
        ({"reward_wrong": 1.0}, "reward_right must be above reward_wrong, got 1.0 and 1.0"),
        ({"overlong_buffer": 8}, "overlong_buffer is 8, but lies before overlong_limit = 0"),
        ({"accuracy_band": (0.8, 0.2)}, "accuracy_band must be .lowest, highest., got .0.8, 0.2."),
    ],
)
def test_settings_that_contradict_one_another(settings, message):
    with pytest.raises(ValueError, match=message):
        ExploreConfig(**settings)


def test_problems_that_agree_over_all_their_rollouts():
    """Each guide agrees within `decided`, but the decision makes the difference there."""
    episodes = [
        *(make_episode("decided", "text", 0.0, index=i) for i in range(2)),
        *(make_episode("decided", "code", 1.0, index=i) for i in range(2)),
        *(make_episode("solved", guide, 1.0) for guide in ("text", "code", "native")),
        *(make_episode("lost", "native", 0.0, index=i) for i in range(2)),
        make_episode("lost", "native", 1.0, stop=Stop.INFRA),
        make_episode("broken", "text", 1.0, stop=Stop.BROKE_GUIDE),
    ]
    assert filters.agreeing(episodes, ExploreConfig()) == {"solved", "lost", "broken"}
    longer = [*episodes, make_episode("solved", "native", 1.0, tokens=9)]
    penalised = ExploreConfig(overlong_limit=9, overlong_buffer=2)
    assert filters.agreeing(longer, penalised) == {"lost", "broken"}
