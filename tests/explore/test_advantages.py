"""Advantages and training rewards against numbers worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest

from acim_jax.config.run import RunConfig
from acim_jax.explore import advantages
from acim_jax.explore.config import ExploreConfig
from acim_jax.improve.config import ImproveConfig
from tests.support.episodes import make_episode

#: √(¼·¾) and δ.
STD = math.sqrt(3) / 4 + 1e-4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("normalised", [0.75 / STD, *[-0.25 / STD] * 3]),
        ("whitened", [0.75 / STD, *[-0.25 / STD] * 3]),
        ("centred", [0.75, -0.25, -0.25, -0.25]),
        ("rloo", [1.0, -1 / 3, -1 / 3, -1 / 3]),
        ("exact_em", [3.0, -1.0, -1.0, -1.0]),
        ("maxrl", [3.0, -1.0, -1.0, -1.0]),
    ],
)
def test_one_of_four_is_right(name, expected):
    np.testing.assert_allclose(
        advantages.of_rewards(np.array([1.0, 0.0, 0.0, 0.0]), name), expected, rtol=1e-12
    )


def test_rloo_compares_with_the_mean_of_the_others():
    rewards = np.array([0.25, 1.0, -1.0, 0.5, 0.0])
    others = [np.mean(np.delete(rewards, i)) for i in range(5)]
    np.testing.assert_allclose(advantages.of_rewards(rewards, "rloo"), rewards - others, rtol=1e-12)


def test_exact_em_is_the_gradient_of_the_log_of_the_mean():
    """E[(r/Q − 1) ∇log π] = ∇ log Q, of a policy over three responses with rewards of their own, by
    central differences. The exact expectation is that of a group with responses in proportion."""
    reward, counts = np.array([1.0, 0.25, 0.0]), np.array([2, 3, 5])
    logits = np.log(counts / counts.sum())

    def log_value(logits):
        return np.log(np.exp(logits) @ reward / np.exp(logits).sum())

    numeric = [
        (log_value(logits + step) - log_value(logits - step)) / 2e-5 for step in 1e-5 * np.eye(3)
    ]
    group = np.repeat(np.arange(3), counts)
    scores = np.eye(3)[group] - counts / 10
    found = np.mean(advantages.of_rewards(reward[group], "exact_em")[:, None] * scores, axis=0)
    np.testing.assert_allclose(found, numeric, atol=1e-8)


def test_rewards_that_do_not_average_above_zero_have_no_relative_advantage():
    with pytest.raises(ValueError, match=r"maxrl divides by the mean reward, which is -0\.5"):
        advantages.of_rewards(np.array([-1.0, -1.0, -1.0, 1.0]), "maxrl")


def test_what_right_and_wrong_are_worth():
    group = [make_episode("p", "native", success) for success in (1.0, 0.25, 0.0)]
    plain = advantages.rewards(group, ExploreConfig())
    np.testing.assert_array_equal(plain, [1.0, 0.25, 0.0])
    signed = advantages.rewards(group, ExploreConfig(reward_wrong=-1.0))
    np.testing.assert_array_equal(signed, [1.0, -0.5, -1.0])


def test_the_kl_in_the_reward():
    far = dataclasses.replace(make_episode("p", "native", 1.0), reference_kl=3.0)
    near = dataclasses.replace(make_episode("p", "native", 0.0), reference_kl=-0.5)
    config = ExploreConfig(reward_kl=0.1, reward_wrong=-1.0)
    np.testing.assert_allclose(advantages.rewards([far, near], config), [0.7, -0.95], rtol=1e-12)
    with pytest.raises(ValueError, match="would be told apart by their KL alone"):
        RunConfig(explore=config)
    improve = ImproveConfig(advantage="rloo")
    assert RunConfig(explore=config, improve=improve).has_reference
    assert not RunConfig(improve=improve).has_reference


def test_the_penalty_of_long_responses():
    """L_max = 20, B = 8: nothing up to 12 tokens, an eighth more for each, 1 from 20 on. A response
    has one token less than its episode, which begins with one of the prompt."""
    lengths = (5, 12, 13, 16, 20, 23)
    expected = np.array([0, 0, -0.125, -0.5, -1, -1])
    config = ExploreConfig(overlong_limit=20, overlong_buffer=8)
    group = [make_episode("p", "native", 1.0, tokens=n + 1) for n in lengths]
    np.testing.assert_allclose(advantages.rewards(group, config), 1 + expected, rtol=1e-12)
    np.testing.assert_array_equal(advantages.overlong(lengths, ExploreConfig()), np.zeros(6))
