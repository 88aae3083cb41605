import importlib.util

import pytest

from acim_jax.data import problems

INSTALLED = importlib.util.find_spec("reasoning_gym") is not None


@pytest.mark.skipif(INSTALLED, reason="reasoning-gym is installed here")
def test_without_the_package_the_extra_is_named() -> None:
    with pytest.raises(ValueError, match=r"acim-jax\[reasoning-gym\]"):
        problems.load("reasoning-gym:chain_sum", limit=2)


@pytest.mark.skipif(not INSTALLED, reason="needs the extra reasoning-gym")
def test_problems_of_the_package_are_disjoint_and_right() -> None:
    sets = {
        split: problems.load("reasoning-gym:chain_sum", split=split, limit=20, seed=1)
        for split in ("train", "test")
    }
    for split in sets.values():
        for problem in split:
            expression = problem.question.split(":")[-1].split("=")[0]
            terms = expression.replace("-", "+ -").replace("- ", "-").split("+")
            assert sum(map(int, terms)) == int(problem.answer)
    assert not {p.question for p in sets["train"]} & {p.question for p in sets["test"]}
    assert sets["test"] == problems.load("reasoning-gym:chain_sum", split="test", limit=20, seed=1)
