"""Which rollouts are asked for."""

import collections

import pytest

from acim_jax.explore import plan
from acim_jax.explore.config import ExploreConfig
from acim_jax.markup import Markup
from acim_jax.records import Problem

MARKUP = Markup(text_prefixes=("Think.", "Reason.", "Ponder."), code_prefixes=("Code:",))
PROBLEMS = [Problem(f"p{i}", "q", "a") for i in range(60)]


def requests(config: ExploreConfig, *, seed: int = 0, iteration: int = 1):
    return plan.requests(PROBLEMS, config, MARKUP, seed=seed, iteration=iteration)


def test_every_guide_gets_its_rollouts():
    config = ExploreConfig(guided_rollouts=2, native_rollouts=3, keep=2)
    made = requests(config)
    assert len(made) == 60 * config.rollouts_per_problem == 60 * 7
    for problem in PROBLEMS:
        guides = collections.Counter(r.guide for r in made if r.problem is problem)
        assert guides == {"text": 2, "code": 2, "native": 3}
    assert len({(r.problem.id, r.guide, r.index) for r in made}) == len(made)
    assert {r.prefix for r in made if r.guide == "native"} == {""}
    assert {r.prefix for r in made if r.guide == "code"} == {"Code:"}
    assert {r.guide for r in made if r.ends_at_fence} == {"text"}
    assert all(r.ends_at_fence for r in made if r.guide == "text")


def test_prefixes_are_drawn_evenly_from_the_identity():
    config = ExploreConfig(guided_rollouts=4)
    made = requests(config)
    drawn = collections.Counter(r.prefix for r in made if r.guide == "text")
    assert drawn.keys() == set(MARKUP.text_prefixes)
    assert all(50 < count < 110 for count in drawn.values()), "240 draws among three"
    assert made == requests(config)
    prefixes = [[r.prefix for r in requests(config, iteration=n)] for n in (1, 2)]
    assert prefixes[0] != prefixes[1]
    part = plan.requests(PROBLEMS[7:9], config, MARKUP, seed=0, iteration=1)
    assert part == [r for r in made if r.problem in PROBLEMS[7:9]]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"problems": 0}, "(?s)problems.*greater than or equal to 1"),
        ({"guided_rollouts": 0}, "are both 0; raise one of them"),
        ({"guided_rollouts": -1, "native_rollouts": 4}, "(?s)guided.*greater than or eq"),
        ({"beta": 0.0}, "(?s)beta.*greater than 0"),
        ({"alpha": -1.0}, "(?s)alpha.*greater than or equal to 0"),
        ({"guided_rollouts": 3, "keep": 4}, "keep must lie between 0 .* 3, got 4"),
        ({"keep": -1}, "(?s)keep.*greater than or equal to 0"),
    ],
)
def test_contradictions_are_refused(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ExploreConfig(**fields)
