"""Every problem is met once before any is met twice."""

import collections
import json

import pytest

from acim_jax.explore import curriculum
from acim_jax.explore.config import ExploreConfig
from acim_jax.explore.curriculum import History
from acim_jax.records import Problem
from tests.support.episodes import make_episode

PROBLEMS = [Problem(f"p{i}", "q", "a") for i in range(10)]
PLAIN = ExploreConfig()
MIX = {"math": 2.1, "code": 1.0}
MIXED = ExploreConfig(problems=4, mix=MIX)
BOTH = [Problem(f"{kind}{i}", "q", "a", kind=kind) for kind in ("math", "code") for i in range(6)]


def test_all_are_met_before_any_is_met_again():
    history, met = History(), collections.Counter[str]()
    orders = []
    for iteration in range(1, 11):
        chosen = curriculum.select(PROBLEMS, history, 4, PLAIN, seed=0, iteration=iteration)
        assert len({p.id for p in chosen}) == 4
        met.update(p.id for p in chosen)
        assert max(met[p.id] for p in PROBLEMS) - min(met[p.id] for p in PROBLEMS) <= 1
        history = history.updated([make_episode(p.id, "native", iteration / 10) for p in chosen])
        orders.append([p.id for p in chosen])
    assert len({tuple(order) for order in orders}) > 5, "the order is drawn afresh"
    assert dict(history.seen) == dict(met)


def test_selection_repeats_and_depends_on_seed_and_iteration():
    def chosen(**identity: int) -> list[str]:
        return [p.id for p in curriculum.select(PROBLEMS, History(), 4, PLAIN, **identity)]

    assert chosen(seed=0, iteration=1) == chosen(seed=0, iteration=1)
    drawn = {tuple(chosen(seed=s, iteration=i)) for s in range(3) for i in range(3)}
    assert len(drawn) == 9
    everything = curriculum.select(PROBLEMS, History(), 99, PLAIN, seed=0, iteration=1)
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


def test_a_mix_holds_in_every_iteration_and_over_all():
    """floor(4t · 2.1/3.1 + 1/2) of the first 4t problems are math: 3, 5, 8, 11, 14, 16 of 24."""
    history, counts = History(), list[int]()
    met = collections.Counter[str]()
    for iteration in range(1, 7):
        chosen = curriculum.select(BOTH, history, 4, MIXED, seed=0, iteration=iteration)
        counts.append(sum(problem.kind == "math" for problem in chosen))
        met.update(problem.id for problem in chosen)
        history = history.updated([make_episode(p.id, "native", 0.5) for p in chosen])
    assert counts == [3, 2, 3, 3, 3, 2]
    of_math = [met[problem.id] for problem in BOTH if problem.kind == "math"]
    assert sorted(of_math) == [2, 2, 3, 3, 3, 3], "all of a domain before any of it again"


def test_further_problems_go_on_with_the_mix():
    def chosen(count: int) -> list[Problem]:
        return curriculum.select(BOTH, History(), count, MIXED, seed=1, iteration=3)

    assert chosen(7)[:4] == chosen(4)
    # Numbers 9 to 15 of the run: math reaches 6, 7, 7, 8, 9, 9, 10 after 5 of 8.
    assert [p.kind for p in chosen(7)] == ["math", "math", "code", "math", "math", "code", "math"]
    assert len(chosen(12)) < 12, "the list ends where a domain has no more"


def test_three_domains_are_shared_one_after_another():
    """Of 6: floor(6 · 3/6 + 1/2) = 3 of a; of the other 3, floor(3 · 2/3 + 1/2) = 2 of b."""
    mix = {"a": 3.0, "b": 2.0, "c": 1.0}
    for first in (0, 6, 600):
        counts = collections.Counter(curriculum.domains(mix, first, 6))
        assert counts == {"a": 3, "b": 2, "c": 1}
    assert curriculum.domains(mix, 0, 6) == ["a", "b", "a", "c", "a", "b"]


@pytest.mark.parametrize(
    ("problems", "config", "said"),
    [
        (BOTH[:6], MIXED, "whose kind is 'code', but of these there are 0"),
        (BOTH[:8], ExploreConfig(problems=10, mix=MIX), "up to 7 of 10 problems .* there are 6"),
        (BOTH, ExploreConfig(problems=4, mix={"math": 1.0}), "gives 'code' no share"),
        (BOTH, ExploreConfig(mix={"gsm8k": 1.0}, mix_by="source"), "whose source is 'gsm8k'"),
    ],
)
def test_problems_that_do_not_fill_the_mix_are_refused(
    problems: list[Problem], config: ExploreConfig, said: str
):
    with pytest.raises(ValueError, match=f"explore.mix.*{said}"):
        curriculum.check_mix(problems, config)
    curriculum.check_mix(BOTH, MIXED)
