"""Q̂ by what was asked for, with standard errors worked out by hand."""

import dataclasses

import numpy as np

from acim_jax.explore import values
from acim_jax.explore.decisions import PolicyEstimate
from acim_jax.records import Problem, Status, Stop
from tests.support.episodes import make_episode

POLICY = PolicyEstimate(np.array([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]]), np.array([0.9, 0.5, 0.1]))


def test_means_and_standard_errors():
    problems = [Problem(name, "q", "a") for name in ("b", "a", "c")]
    episodes = [
        # asked for text, but code was detected: it counts as text
        make_episode("a", "text", 1.0, executed=True),
        make_episode("a", "text", 0.0),
        make_episode("a", "code", 1.0, executed=True),
        make_episode("a", "code", 1.0),
        make_episode("a", "code", 0.0, stop=Stop.INFRA),
        make_episode("a", "text", 0.0, stop=Stop.BROKE_GUIDE),
        make_episode("a", "native", 0.0),
        *[make_episode("b", "code", float(i < 1)) for i in range(8)],
    ]
    found = values.estimate(problems, episodes, POLICY)
    assert [v.problem_id for v in found] == ["b", "a", "c"]
    b, a, c = found
    assert a.counts.tolist() == [2, 2] and b.counts.tolist() == [0, 8] and not c.counts.any()
    np.testing.assert_allclose(a.value, [0.5, 1.0])
    np.testing.assert_allclose(a.stderr, [np.sqrt(0.25 / 2), 0.0])
    np.testing.assert_allclose(b.value, [np.nan, 0.125])
    np.testing.assert_allclose(b.stderr, [np.nan, np.sqrt(0.125 * 0.875 / 8)])
    assert np.isnan(c.value).all() and np.isnan(c.stderr).all()
    np.testing.assert_array_equal(a.policy, [0.2, 0.8])
    assert (b.mass, a.mass) == (0.9, 0.5)
    np.testing.assert_allclose(a.calls, [0.5, 0.5])
    np.testing.assert_allclose(b.calls, [np.nan, 0.0])


def test_calls_are_programs_that_were_run():
    """One that worked, one that failed, one that the filter stopped; not one that we lost."""
    one = make_episode("b", "code", 1.0, executed=True)
    (ran,) = one.executions
    statuses = (Status.OK, Status.ERROR, Status.BLOCKED, Status.INFRA)
    several = tuple(dataclasses.replace(ran, status=status) for status in statuses)
    found = values.estimate(
        [Problem("b", "q", "a")],
        [one, dataclasses.replace(one, executions=several), make_episode("b", "text", 0.0)],
        POLICY,
    )
    np.testing.assert_allclose(found[0].calls, [0.0, (1 + 3) / 2])


def test_a_scripted_policy_has_the_values_it_was_given():
    """Text is right with probability 0.3, code with 0.8; 8 rollouts of 400 problems. The plug-in
    variance q̂(1−q̂)/R is too small by 1 − 1/R on average."""
    draw, truth, rollouts = np.random.default_rng(0), {"text": 0.3, "code": 0.8}, 8
    problems = [Problem(f"p{i}", "q", "a") for i in range(400)]
    episodes = [
        make_episode(p.id, guide, float(draw.random() < q), index=i)
        for p in problems
        for guide, q in truth.items()
        for i in range(rollouts)
    ]
    policy = PolicyEstimate(np.full((400, 2), 0.5), np.ones(400))
    found = values.estimate(problems, episodes, policy)
    q = np.array([0.3, 0.8])
    variance = q * (1 - q) / rollouts
    mean = np.mean([v.value for v in found], axis=0)
    assert (np.abs(mean - q) < 4 * np.sqrt(variance / 400)).all()
    reported = np.mean([v.stderr**2 for v in found], axis=0)
    np.testing.assert_allclose(reported, variance * (1 - 1 / rollouts), rtol=0.05)
