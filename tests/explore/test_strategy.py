"""Facts of s*(c|x) that do not come from the code: worked numbers, limits, and the optimum."""

import itertools
import math

import numpy as np
import pytest

from acim_jax.explore import strategy
from acim_jax.explore.config import ExploreConfig
from acim_jax.records import DecisionValues

NAMES = (
    "energy", "hard", "posterior", "tempered", "value", "regularised", "cost", "lexicographic"
)  # fmt: skip


def reference(policy, value, name, *, calls=(0.0, 1.0), rollouts=8, **settings) -> np.ndarray:
    policy, value = np.atleast_2d(policy).astype(float), np.atleast_2d(value).astype(float)
    return strategy.reference(
        policy,
        value,
        ExploreConfig(strategy=name, **settings),
        counts_PC=np.full(value.shape, rollouts),
        calls_PC=np.broadcast_to(np.asarray(calls, float), value.shape),
    )


@pytest.mark.parametrize(
    "name, settings, expected",
    [
        ("posterior", {}, (0.571, 0.429)),
        ("energy", {"alpha": 10.0}, (0.622, 0.378)),
        ("energy", {"alpha": 1e6}, (1.0, 0.0)),  # text, although code is three times as good
        ("energy", {"alpha": 0.0}, (0.5, 0.5)),
        ("hard", {}, (1.0, 0.0)),
        ("tempered", {"alpha": 2.0}, (0.64, 0.36)),  # of π Q = (0.20, 0.15)
        ("tempered", {"alpha": 1.0}, (0.571, 0.429)),
        ("tempered", {"alpha": 1e6}, (1.0, 0.0)),
        ("tempered", {"alpha": 0.0}, (0.5, 0.5)),
        ("lexicographic", {}, (0.0, 1.0)),
        ("value", {"alpha": 1e6}, (0.0, 1.0)),
        ("value", {"alpha": 0.0}, (0.5, 0.5)),
        ("always_text", {}, (1.0, 0.0)),
        ("always_code", {}, (0.0, 1.0)),
        ("regularised", {"beta": 1e6}, (0.8, 0.2)),
        ("regularised", {"beta": 1e-6}, (0.0, 1.0)),
    ],
)
def test_a_habit_of_text_against_better_code(name: str, settings: dict, expected):
    ours = reference((0.8, 0.2), (0.25, 0.75), name, **settings)
    np.testing.assert_allclose(ours, [expected], atol=5e-4)


def test_a_rare_decision_that_is_better():
    """At a prior of 2 %: the energy form stays there, the posterior takes eight rounds."""
    policy, value = np.array([[0.98, 0.02]]), np.array([[0.3, 1.0]])
    assert reference(policy, value, "energy")[0, 1] == pytest.approx(0.004, abs=5e-4)
    assert reference(policy, value, "posterior")[0, 1] == pytest.approx(0.064, abs=5e-4)
    assert reference(policy, value, "regularised")[0, 1] == pytest.approx(0.957, abs=5e-4)
    for _ in range(8):
        policy = reference(policy, value, "posterior")
    assert policy[0, 1] == pytest.approx(0.997, abs=5e-4)


def test_energy_at_one_never_passes_e():
    grid = np.linspace(0.0, 1.0, 21)
    policy = np.array([[1 - p, p] for p, _, _ in itertools.product(grid, grid, grid)])
    value = np.array([[a, b] for _, a, b in itertools.product(grid, grid, grid)])
    ours = reference(policy, value, "energy", alpha=1.0)
    assert (ours.max(axis=1) / ours.min(axis=1)).max() == pytest.approx(np.e, rel=1e-9)


def test_regularised_is_the_optimum():
    """No other distribution has more E_s[Q] − β·KL(s‖π); searched on a grid."""
    policy, value, beta = np.array([0.9, 0.1]), np.array([0.4, 0.7]), 0.2
    grid = np.linspace(1e-4, 1 - 1e-4, 9999)
    s = np.stack([1 - grid, grid], axis=1)
    objective = s @ value - beta * np.sum(s * np.log(s / policy), axis=1)
    best = grid[objective.argmax()]
    assert reference(policy, value, "regularised", beta=beta)[0, 1] == pytest.approx(best, abs=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_rows_sum_to_one_and_do_not_care_for_order(name: str):
    """Of three decisions."""
    draw = np.random.default_rng(0)
    policy = draw.dirichlet(np.ones(3), 50)
    value = draw.integers(0, 5, (50, 3)) / 4
    calls = draw.integers(0, 3, (50, 3)) / 2
    ours = reference(policy, value, name, calls=calls, call_price=0.1)
    assert np.isfinite(ours).all() and (ours >= 0).all()
    np.testing.assert_allclose(ours.sum(axis=1), 1.0, rtol=1e-12)
    for order in itertools.permutations(range(3)):
        columns = policy[:, order], value[:, order]
        other = reference(*columns, name, calls=calls[:, order], call_price=0.1)
        np.testing.assert_allclose(other, ours[:, order], rtol=1e-12)
    rows = zip(policy, value, calls, strict=True)
    one_by_one = [reference(p, v, name, calls=n, call_price=0.1)[0] for p, v, n in rows]
    np.testing.assert_allclose(one_by_one, ours, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"call_price": 0.0}, 1 / (1 + np.e)),
        ({"call_price": 0.05}, 0.5),  # two programs bring 0.1
        ({"call_price": 0.1}, np.e / (1 + np.e)),
        # difficulty 1 − 0.6: κ is 0.06, and text is ahead by 0.02
        ({"call_price": 0.1, "call_price_by": "difficulty"}, np.e**0.2 / (1 + np.e**0.2)),
    ],
)
def test_a_price_of_calls(settings: dict, text: float):
    """Code is right more often by 0.1, and runs two programs."""
    ours = reference((0.5, 0.5), (0.5, 0.6), "cost", calls=(0.0, 2.0), beta=0.1, **settings)
    np.testing.assert_allclose(ours, [[text, 1 - text]], rtol=1e-9)


def test_without_a_price_cost_is_regularised():
    draw = np.random.default_rng(1)
    policy, value = draw.dirichlet(np.ones(2), 20), draw.random((20, 2))
    calls = draw.random((20, 2))
    for beta in (0.05, 1.0):
        np.testing.assert_array_equal(
            reference(policy, value, "cost", calls=calls, beta=beta),
            reference(policy, value, "regularised", beta=beta),
        )


@pytest.mark.parametrize(
    ("value", "calls", "expected"),
    [
        ((0.5, 0.625), (0.0, 1.0), (1, 0)),  # 0.125 apart, standard error 0.246
        ((0.25, 0.875), (0.0, 1.0), (0, 1)),  # 0.625 apart, standard error 0.193
        ((0.875, 1.0), (0.0, 1.0), (0, 1)),  # 0.125 apart, standard error 0.117
        ((1.0, 1.0), (0.0, 1.0), (1, 0)),  # equal, standard error 0
        ((0.5, 0.625), (1.0, 1.0), (0, 1)),  # equally many calls: the better one
        ((0.5, 0.5), (1.0, 1.0), (0.5, 0.5)),
        ((0.5, 0.5, 0.625, 0.0), (2.0, 0.5, 1.0, 0.0), (0, 1, 0, 0)),
    ],
)
def test_first_the_best_then_the_cheapest(value, calls, expected):
    """Of 8 rollouts each, whatever the prior."""
    policy = np.linspace(1, 2, len(value)) / np.linspace(1, 2, len(value)).sum()
    ours = reference(policy, value, "lexicographic", calls=calls, rollouts=8)
    np.testing.assert_array_equal(ours, [expected])


def test_more_rollouts_tell_smaller_differences_apart():
    """0.125 apart: the standard error is 0.696/√R, so it is larger up to R = 30."""
    for rollouts, expected in ((8, [1, 0]), (30, [1, 0]), (32, [0, 1])):
        ours = reference((0.5, 0.5), (0.5, 0.625), "lexicographic", rollouts=rollouts)
        np.testing.assert_array_equal(ours, [expected])


def test_equal_joints_share_the_hard_strategy():
    ours = reference([(0.75, 0.25), (0.5, 0.5)], [(0.25, 0.75), (0.0, 0.5)], "hard")
    np.testing.assert_array_equal(ours, [[0.5, 0.5], [0.0, 1.0]])


def test_estimates_give_their_calls_and_their_shrunk_counts():
    """By hand. With a prior of 24 rollouts, (4/8, 8/8) become (16/32, 20/32): 0.125 apart, with a
    standard error of 0.123; and (4/8, 7/8) become (16/32, 19/32), 0.094 apart: text is cheaper."""

    def estimate(name: str, code: float) -> DecisionValues:
        value, policy = np.array([0.5, code]), np.array([0.5, 0.5])
        counts, calls = np.array([8, 8]), np.array([0.0, 1.5])
        return DecisionValues(name, counts, value, value, policy, 1.0, calls)

    estimates = [estimate("better", 1.0), estimate("cheaper", 7 / 8)]
    config = ExploreConfig(strategy="lexicographic", value_pseudo_counts=24.0)
    found = strategy.of_estimates(estimates, config)
    assert {name: s.tolist() for name, s in found.items()} == {"better": [0, 1], "cheaper": [1, 0]}
    priced = strategy.of_estimates(estimates, ExploreConfig(strategy="cost", call_price=0.25))
    net = 7 / 8 - 0.25 * 1.5
    np.testing.assert_allclose(priced["cheaper"][1], 1 / (1 + np.exp((0.5 - net) / 0.1)))


@pytest.mark.parametrize("name", NAMES)
def test_no_success_is_no_signal(name: str):
    """The mode's own limit, beside a row with a signal, whose π is not changed either."""
    policy, value = np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([[0.0, 0.0], [0.0, 0.5]])
    before = policy.copy()
    ours = reference(policy, value, name, call_price=0.1)
    expected = [0.5, 0.5] if name in ("energy", "value") else [0.9, 0.1]
    np.testing.assert_allclose(ours[0], expected, rtol=1e-12)
    assert ours[1, 1] > expected[1]
    np.testing.assert_array_equal(policy, before)
    assert strategy.has_signal(value).tolist() == [False, True]


def test_extremes_stay_finite():
    policy = np.array([[1.0, 0.0], [1e-300, 1.0]])
    for name in NAMES:
        for value in ([[1.0, 1.0], [1.0, 0.5]], [[0.0, 0.5], [0.5, 0.0]]):
            ours = reference(policy, value, name, alpha=1e5, beta=1e-4)
            np.testing.assert_allclose(ours.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("value", [(np.nan, 0.5), (1.5, 0.5), (-0.1, 0.5)])
def test_what_is_no_value_is_refused(value):
    with pytest.raises(ValueError, match="a decision without rollouts has no Q"):
        reference((0.5, 0.5), value, "regularised")


def test_a_floor_raises_the_rare_and_keeps_the_odds_of_the_others():
    policy = np.array([[0.98, 0.02], [1.0, 0.0], [0.4, 0.6]])
    found = strategy.floored(policy, 0.05)
    np.testing.assert_allclose(found, [[0.95, 0.05], [0.95, 0.05], [0.4, 0.6]])
    several = strategy.floored(np.array([[0.9, 0.06, 0.02, 0.02]]), 0.05)
    np.testing.assert_allclose(several, [[0.9 * 0.9 / 0.96, 0.06 * 0.9 / 0.96, 0.05, 0.05]])
    cascade = strategy.floored(np.array([[0.8, 0.1, 0.1, 0.0]]), 0.24)
    np.testing.assert_allclose(cascade, [[0.28, 0.24, 0.24, 0.24]])
    np.testing.assert_array_equal(strategy.floored(policy, 0.0), policy)


def test_a_floor_bounds_what_a_prior_can_outweigh():
    """With π(code) = 1e-12, Q = (0.3, 1) and β = 0.1 text wins; with a floor of 0.01 code does."""
    policy, value = np.array([1 - 1e-12, 1e-12]), (0.3, 1.0)
    assert reference(policy, value, "regularised")[0, 1] < 1e-8
    floored = strategy.floored(policy[None], 0.01)
    expected = 0.01 * np.e**10 / (0.01 * np.e**10 + 0.99 * np.e**3)
    np.testing.assert_allclose(reference(floored, value, "regularised")[0, 1], expected)


def mean_strategy(code: float, rollouts: int, pseudo_counts: float) -> float:
    """E[s*(code)] over all outcomes of `rollouts` per decision at Q = (0.4, 0.6), β = 0.1; outcomes
    without a success carry no signal."""
    counts = np.arange(rollouts + 1)
    ways = np.array([math.comb(rollouts, int(k)) for k in counts])
    chance = [ways * q**counts * (1 - q) ** (rollouts - counts) for q in (0.4, 0.6)]
    weight = np.outer(*chance).ravel()
    value = np.stack(np.meshgrid(counts, counts, indexing="ij"), axis=-1).reshape(-1, 2) / rollouts
    shrunk = strategy.shrunk(value, np.full_like(value, rollouts), pseudo_counts)
    policy = np.tile([[1 - code, code]], (len(value), 1))
    alive = strategy.has_signal(value)
    found = reference(policy, shrunk, "regularised", beta=0.1)[:, 1]
    return float(np.sum((weight * found)[alive]) / weight[alive].sum())


@pytest.mark.parametrize(
    ("rollouts", "plain", "with_prior"), [(4, 0.81, 0.902), (8, 0.94, 0.996), (16, 1.0, 1.0)]
)
def test_a_prior_on_values_lessens_the_bias_of_few_rollouts(
    rollouts: int, plain: float, with_prior: float
):
    """Where π ← E[s*] ends; with exact values it ends at 1."""
    for pseudo_counts, end in ((0.0, plain), (4.0, with_prior)):
        code = 0.5
        for _ in range(400):
            code = mean_strategy(code, rollouts, pseudo_counts)
        assert code == pytest.approx(end, abs=0.005)


def test_the_prior_counts_as_rollouts_of_one_half():
    value, counts = np.array([[1.0, 0.0]]), np.array([[4, 12]])
    np.testing.assert_allclose(strategy.shrunk(value, counts, 4.0), [[6 / 8, 2 / 16]])
    np.testing.assert_array_equal(strategy.shrunk(value, counts, 0.0), value)
