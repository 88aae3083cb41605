"""Which rollouts are learned from: frequencies against s*, baselines by hand, drops that add up."""

import collections

import numpy as np
import pytest

from acim_jax.explore import curate
from acim_jax.explore.config import ExploreConfig
from acim_jax.records import DecisionValues, DropReason, Stop
from tests.support.episodes import make_episode

NAN = np.full((2,), np.nan)


def values(*problem_ids: str) -> list[DecisionValues]:
    zeros = np.zeros((2,), np.int64)
    return [DecisionValues(p, zeros, NAN, NAN, np.array([0.5, 0.5]), 1.0, NAN) for p in problem_ids]


def run(episodes, strategies, *, rollouts=4, keep=4, seed=0, advantage="centred", fits=None):
    config = ExploreConfig(guided_rollouts=rollouts, native_rollouts=0, keep=keep)
    ids = list(dict.fromkeys(e.problem_id for e in episodes))
    kept, counts = curate.examples(
        episodes,
        values(*ids),
        {k: np.array(v) for k, v in strategies.items()},
        config,
        advantage=advantage,
        fits=fits or (lambda e: True),
        seed=seed,
        iteration=1,
    )
    assert counts.rollouts == len(episodes) == counts.kept + sum(counts.dropped.values())
    assert counts.kept == len(kept)
    assert len({id(e.episode) for e in kept}) == len(kept), "no rollout is taken twice"
    return kept, counts


def mixed(problem_id: str, rollouts: int = 4):
    """Text is right once, code all but once."""
    return [
        *[make_episode(problem_id, "text", float(i == 0), index=i) for i in range(rollouts)],
        *[
            make_episode(problem_id, "code", float(i != 0), index=i, executed=True)
            for i in range(rollouts)
        ],
    ]


def test_draws_follow_the_strategy():
    """Inclusion of every rollout over 600 seeds: keep·s*(c)/R, the same for all of one guide; and
    with keep = 0 the weights are in the same proportion."""
    share, keep, rollouts, seeds = (0.3, 0.7), 3, 4, 600
    episodes = mixed("p", rollouts)
    seen: collections.Counter[tuple[str, int]] = collections.Counter()
    for seed in range(seeds):
        kept, counts = run(episodes, {"p": share}, keep=keep, rollouts=rollouts, seed=seed)
        assert len(kept) == keep
        assert all(e.weight == 1.0 for e in kept)
        seen.update((e.episode.guide, e.episode.index) for e in kept)
    weighed, _ = run(episodes, {"p": share}, keep=0, rollouts=rollouts)
    assert len(weighed) == 2 * rollouts
    for example in weighed:
        c = int(example.episode.guide == "code")
        expected = keep * share[c] / rollouts
        assert counts.drawn_tokens == pytest.approx(3 * keep)  # of three tokens each
        error = np.sqrt(expected * (1 - expected) / seeds)
        found = seen[example.episode.guide, example.episode.index] / seeds
        assert abs(found - expected) < 4 * error
        assert example.weight * keep / (2 * rollouts) == pytest.approx(expected, rel=1e-9)


def test_draws_repeat_and_do_not_depend_on_other_problems():
    alone, _ = run(mixed("p"), {"p": (0.5, 0.5)})
    beside, _ = run([*mixed("o"), *mixed("p")], {"o": (0.5, 0.5), "p": (0.5, 0.5)})
    names = [(e.episode.guide, e.episode.index) for e in alone]
    assert names == [
        (e.episode.guide, e.episode.index) for e in beside if e.episode.problem_id == "p"
    ]


@pytest.mark.parametrize("advantage", ["centred", "normalised"])
def test_a_forced_decision_has_the_baseline_of_its_guide(advantage: str):
    kept, _ = run(mixed("p"), {"p": (0.5, 0.5)}, keep=0, advantage=advantage)
    std = np.sqrt(0.25 * 0.75) + 1e-4 if advantage == "normalised" else 1.0
    for example in kept:
        baseline = 0.25 if example.episode.guide == "text" else 0.75
        expected = (example.episode.reward - baseline) / std
        assert example.advantage == pytest.approx(expected, rel=1e-9)


def test_a_sampled_decision_has_the_baseline_of_the_query():
    """Native rollouts: text fails and code succeeds, so the decision itself carries the signal."""
    episodes = [
        *[make_episode("p", "native", 0.0, index=i) for i in range(3)],
        make_episode("p", "native", 1.0, index=3, executed=True),
        *[make_episode("q", "native", 1.0, index=i) for i in range(2)],
    ]
    kept, counts = run_native(episodes)
    assert [e.advantage for e in kept] == [-0.25, -0.25, -0.25, 0.75]
    assert counts.dropped["all_agree"] == 2


def run_native(episodes):
    config = ExploreConfig(guided_rollouts=0, native_rollouts=4, keep=0)
    kept, counts = curate.examples(
        episodes,
        values("p", "q"),
        {},
        config,
        advantage="centred",
        fits=lambda e: True,
        seed=0,
        iteration=1,
    )
    assert counts.kept + sum(counts.dropped.values()) == len(episodes)
    return kept, counts


def test_every_drop_is_counted_by_its_reason():
    episodes = [
        *mixed("p"),
        make_episode("p", "text", 0.0, index=4, stop=Stop.INFRA),
        make_episode("p", "code", 1.0, index=4, tokens=99),
        make_episode("p", "native", 0.0, stop=Stop.PROMPT),
        *[
            make_episode("agree", guide, 1.0, index=i)
            for i in range(4)
            for guide in ("text", "code")
        ],
        *[
            make_episode("dead", guide, 0.0, index=i)
            for i in range(3)
            for guide in ("text", "code")
        ],
    ]
    strategies = {"p": (0.0, 1.0), "agree": (0.5, 0.5)}
    kept, counts = run(episodes, strategies, keep=2, fits=lambda e: e.num_tokens < 50)
    assert [e.episode.guide for e in kept] == ["code", "code"]
    assert {k: v for k, v in counts.dropped.items() if v} == {
        "infra": 1,
        "too_long": 1,
        "prompt": 1,
        "not_drawn": 6,
        "all_agree": 8,
        "no_signal": 6,
    }
    assert counts.queries == 3
    # a decision of weight 0 is a drop as well
    _, counts = run(mixed("p"), {"p": (0.0, 1.0)}, keep=0)
    assert counts.dropped["not_drawn"] == 4


def test_failures_of_ours_do_not_move_the_baseline():
    episodes = [*mixed("p"), make_episode("p", "code", 0.0, index=4, stop=Stop.INFRA)]
    kept, _ = run(episodes, {"p": (0.0, 1.0)}, keep=0)
    assert sorted(e.advantage for e in kept) == [-0.75, 0.25, 0.25, 0.25]


def test_a_rollout_that_broke_its_guide_is_neither_learned_from_nor_a_baseline():
    broken = make_episode("p", "text", 0.0, index=4, stop=Stop.BROKE_GUIDE)
    kept, counts = run([*mixed("p"), broken], {"p": (0.5, 0.5)}, rollouts=4, keep=0)
    assert counts.dropped[DropReason.BROKE_GUIDE] == 1
    alone, _ = run(mixed("p"), {"p": (0.5, 0.5)}, rollouts=4, keep=0)
    assert [e.advantage for e in kept] == [e.advantage for e in alone]


def test_the_denominator_counts_what_is_drawn_with_an_advantage_or_without():
    """By hand. p: rollouts of 3 tokens under text and of 7 under code, half of each right; agree:
    the same, but all right; dead: 5 tokens, no success; native: 9 tokens each, all kept."""

    def of(problem_id: str, rewards, tokens=(3, 7)):
        return [
            make_episode(problem_id, guide, reward, index=i, tokens=n + 1)
            for guide, n in zip(("text", "code"), tokens, strict=True)
            for i, reward in enumerate(rewards)
        ]

    mixed, agree = of("p", (0.0, 1.0)), of("agree", (1.0, 1.0))
    dead = of("dead", (0.0, 0.0), tokens=(5, 5))
    native = [
        make_episode("native", "native", r, index=i, tokens=10) for i, r in enumerate((1.0, 1.0))
    ]
    lost = make_episode("p", "code", 0.0, index=2, tokens=90, stop=Stop.INFRA)
    episodes, share = [*mixed, *agree, *dead, *native, lost], (0.25, 0.75)
    strategies = {"p": share, "agree": share}
    one_query = 0.25 * 3 + 0.75 * 7
    for keep, size in ((2, 2), (1, 1), (0, 2 * 2)):
        for seed in range(4):
            _, counts = run(episodes, strategies, rollouts=2, keep=keep, seed=seed)
            assert counts.drawn_tokens == pytest.approx(size * (2 * one_query + 5) + 2 * 9)
    kept, _ = run([*mixed, lost], {"p": share}, rollouts=2, keep=0)
    assert sum(e.weight * e.episode.num_model_tokens for e in kept) == pytest.approx(4 * one_query)
    fewer, _ = run(mixed[:3], {"p": share}, rollouts=2, keep=0)  # one of the code rollouts is lost
    assert [e.weight for e in fewer] == pytest.approx([0.25 * 2, 0.25 * 2])


@pytest.mark.parametrize(
    ("settings", "drawn"),
    [
        ({"guided_rollouts": 4, "keep": 3}, 3),
        ({"guided_rollouts": 4, "keep": 0}, 8),
        ({"guided_rollouts": 4, "keep": 3, "native_rollouts": 5}, 8),
        ({"guided_rollouts": 0, "native_rollouts": 8}, 8),
        ({"guided_rollouts": 0, "native_rollouts": 8, "native_keep": 2}, 2),
    ],
)
def test_the_rollouts_that_a_problem_is_drawn(settings: dict[str, int], drawn: int):
    assert ExploreConfig(**settings).drawn_rollouts == drawn
