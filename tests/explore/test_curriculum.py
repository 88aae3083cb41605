"""Every problem is met once before any is met twice."""

import collections
import json

from acim_jax.explore import curriculum
from acim_jax.explore.curriculum import History
from acim_jax.records import Problem
from tests.support.episodes import make_episode

PROBLEMS = [Problem(f"p{i}", "q", "a") for i in range(10)]


def test_all_are_met_before_any_is_met_again():
    history, met = History(), collections.Counter[str]()
    orders = []
    for iteration in range(1, 11):
        chosen = curriculum.select(PROBLEMS, history, 4, seed=0, iteration=iteration)
        assert len({p.id for p in chosen}) == 4
        met.update(p.id for p in chosen)
        assert max(met[p.id] for p in PROBLEMS) - min(met[p.id] for p in PROBLEMS) <= 1
        history = history.updated([make_episode(p.id, "native", iteration / 10) for p in chosen])
        orders.append([p.id for p in chosen])
    assert len({tuple(order) for order in orders}) > 5, "the order is drawn afresh"
    assert dict(history.seen) == dict(met)


def test_selection_repeats_and_depends_on_seed_and_iteration():
    def chosen(**identity: int) -> list[str]:
        return [p.id for p in curriculum.select(PROBLEMS, History(), 4, **identity)]

    assert chosen(seed=0, iteration=1) == chosen(seed=0, iteration=1)
    drawn = {tuple(chosen(seed=s, iteration=i)) for s in range(3) for i in range(3)}
    assert len(drawn) == 9
    everything = curriculum.select(PROBLEMS, History(), 99, seed=0, iteration=1)
    assert sorted(p.id for p in everything) == sorted(p.id for p in PROBLEMS)


def test_history_survives_json():
    first = [make_episode("a", "text", 0.5), make_episode("b", "text", 1.0)]
    history = History().updated(first).updated([make_episode("b", "code", 0.25)])
    assert History.from_json(json.loads(json.dumps(history.to_json()))) == history
    assert history.seen == {"a": 1, "b": 2} and history.reward == {"a": 0.5, "b": 0.25}
    assert history.rollouts == 3


def test_mean_rewards_are_over_all_rollouts():
    episodes = [
        make_episode("a", "text", 1.0),
        make_episode("a", "code", 0.0),
        make_episode("a", "native", 0.0),
        make_episode("b", "code", 1.0),
    ]
    assert curriculum.mean_rewards(episodes) == {"a": 1 / 3, "b": 1.0}
