"""Which of a run's problems are evaluated."""

import pytest

from acim_jax.records import Problem
from acim_jax.run import preparation

PROBLEMS = [Problem(f"{source}/{i}", "?", "1") for source in "abc" for i in range(40)]


@pytest.mark.parametrize("count", [3, 12, 17, 119])
def test_every_source_has_its_share(count: int) -> None:
    chosen = preparation.spread(PROBLEMS, count)
    assert len({problem.id for problem in chosen}) == count
    shares = [sum(p.id.startswith(source) for p in chosen) for source in "abc"]
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("count", [None, 120, 500])
def test_all_of_them(count: int | None) -> None:
    assert preparation.spread(PROBLEMS, count) == PROBLEMS
