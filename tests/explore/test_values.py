"""Q̂ by what was asked for, with standard errors worked out by hand."""

import numpy as np

from acim_jax.explore import values
from acim_jax.explore.decisions import PolicyEstimate
from acim_jax.records import Problem, Stop
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
