"""The sampled point of a learning curve, by hand."""

import pytest

from acim_jax.evaluation import curve
from tests.support.episodes import make_episode


def test_a_sampled_point_is_over_problems_of_k_rollouts_each():
    """Two of three, one half and none of three: avg@3 is the mean of 2/3, 1/6 and 0; only a whole
    success solves a problem."""
    rewards = {"a": (1.0, 0.0, 1.0), "b": (0.0, 0.5, 0.0), "c": (0.0, 0.0, 0.0)}
    episodes = [
        make_episode(name, "native", reward, index=i, executed=name == "a" and i < 2)
        for name, of in rewards.items()
        for i, reward in enumerate(of)
    ]
    point = curve.sampled_point(episodes, 3)
    assert point.sampled_accuracy == pytest.approx(5 / 18)
    means = (2 / 3, 1 / 6, 0.0)
    spread = (sum((x - 5 / 18) ** 2 for x in means) / 3) ** 0.5
    assert point.sampled_accuracy_stderr == pytest.approx(spread / 3**0.5)
    assert point.sampled_code_rate == pytest.approx(2 / 9)
    assert point.sampled_pass == pytest.approx(1 / 3)
