"""The losses against loops in numpy float64, one token at a time, and their degenerate inputs."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.improve import objectives
from acim_jax.improve.config import PolicyForm, PolicyObjective, RatioLevel
from acim_jax.improve.packing import TokenBatch

B, T, DENOMINATOR = 4, 6, 7.0
Arrays = dict[str, np.ndarray]
#: Every value of every setting, and the combinations in which levels, weights and terms meet.
OBJECTIVES = {
    "default": PolicyObjective(),
    "clip_higher": PolicyObjective(clip_epsilon_high=0.7),
    "dual_clip": PolicyObjective(dual_clip=3.0),
    "clip_only": PolicyObjective(form="clip_only"),
    "is_detached": PolicyObjective(form="is_detached"),
    "cispo": PolicyObjective(form="is_detached", clip_epsilon=1.0, clip_epsilon_high=0.4),
    "sequence_mean": PolicyObjective(ratio="sequence_mean"),
    "gspo": PolicyObjective(
        ratio="sequence_mean", aggregation="sequence", clip_epsilon=3e-2, clip_epsilon_high=4e-2
    ),
    "sequence": PolicyObjective(ratio="sequence", clip_epsilon=0.5),
    "detached_sequence": PolicyObjective(ratio="sequence", form="is_detached"),
    "detached_mean": PolicyObjective(
        ratio="sequence_mean", form="is_detached", aggregation="sequence"
    ),
    "topr": PolicyObjective(ratio="sequence", form="topr", aggregation="constant"),
    "awr": PolicyObjective(form="awr", awr_temperature=0.5, awr_max_weight=5.0),
    "grpo": PolicyObjective(aggregation="sequence", kl_weight=0.3, kl_estimator="k3"),
    "full": PolicyObjective(correction="full"),
    "truncated": PolicyObjective(correction="truncated", correction_cap=1.2, form="clip_only"),
    "masked": PolicyObjective(correction="masked", correction_cap=1.3, correction_floor=0.8),
    "masked_rows": PolicyObjective(
        correction="masked", correction_cap=1.3, correction_floor=0.8, ratio="sequence"
    ),
    "truncated_mean": PolicyObjective(
        correction="truncated", correction_cap=1.01, ratio="sequence_mean", kl_weight=0.1
    ),
    "k1": PolicyObjective(kl_weight=0.5, kl_estimator="k1"),
    "k2": PolicyObjective(kl_weight=0.5, kl_estimator="k2", ratio="sequence"),
    "entropy": PolicyObjective(entropy_weight=0.2, aggregation="sequence"),
    "entropy_after_outputs": PolicyObjective(entropy_weight=0.2, entropy_tokens=1),
}
every = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
#: Those whose policy term alone is left where there is neither a reference nor a bonus.
PLAIN = {name: o for name, o in OBJECTIVES.items() if not (o.kl_weight or o.entropy_weight)}


@pytest.fixture
def arrays() -> Arrays:
    """Ratios inside the band and beyond either end of it, for either sign of A, one beyond the dual
    clip; rows of 3, 4, 1 and no targets."""
    draw = np.random.default_rng(0)
    logprobs = draw.normal(-2.0, 0.3, (B, T))
    weights = np.zeros((B, T))
    weights[0, [1, 2, 4]], weights[1, 1:5], weights[2, 3] = 1.0, 0.5, 2.0
    drift = np.zeros((B, T))
    drift[0], drift[1] = [9, 0.05, 0.5, 9, -0.45, 9], [9, 0.1, 1.3, -0.6, 0.03, 9]
    drift[2], drift[3] = -0.15, 9
    return {
        "logprobs": logprobs,
        "entropies": draw.uniform(0.5, 2.0, (B, T)),
        "behaviour_logprobs": logprobs - drift,
        "advantages": np.array([1.5, -0.7, -0.4, 3.0]),
        "weights": weights,
        "proximal_logprobs": logprobs - drift + draw.normal(0, 0.3, (B, T)),
        "reference_logprobs": logprobs - draw.normal(0, 0.5, (B, T)),
        "has_bonus": np.arange(T)[None] % 3 == np.arange(B)[:, None] % 3,
    }


def losses(arrays: Arrays, objective: PolicyObjective, logprobs=None, entropies=None):
    """Ours, with the arrays that the objective takes."""
    ours = {k: jnp.asarray(v, bool if k == "has_bonus" else jnp.float32) for k, v in arrays.items()}
    batch = TokenBatch(
        token_ids=jnp.zeros(arrays["weights"].shape, jnp.int32),
        weights=ours["weights"],
        behaviour_logprobs=ours["behaviour_logprobs"],
        advantages=ours["advantages"],
        proximal_logprobs=ours["proximal_logprobs"] if objective.correction != "none" else None,
        reference_logprobs=ours["reference_logprobs"] if objective.kl_weight else None,
        has_bonus=ours["has_bonus"] if objective.entropy_tokens else None,
    )
    logprobs = ours["logprobs"] if logprobs is None else logprobs
    if entropies is None and objective.entropy_weight:
        entropies = ours["entropies"]
    return objectives.policy_loss(
        logprobs, batch, entropies, objective=objective, denominator=jnp.float32(DENOMINATOR)
    )


def value_and_gradients(
    arrays: Arrays, objective: PolicyObjective
) -> tuple[float, np.ndarray, np.ndarray]:
    """What is minimised, and its gradients by log-probs and by entropies."""
    pair = (jnp.asarray(arrays[name], jnp.float32) for name in ("logprobs", "entropies"))

    def total(logprobs, entropies):
        used = entropies if objective.entropy_weight else None
        return losses(arrays, objective, logprobs, used)[0].total

    value, found = jax.value_and_grad(total, argnums=(0, 1))(*pair)
    return float(value), np.asarray(found[0]), np.asarray(found[1])


def gradients(arrays: Arrays, objective: PolicyObjective) -> tuple[np.ndarray, np.ndarray]:
    return value_and_gradients(arrays, objective)[1:]


def loop(arrays: Arrays, o: PolicyObjective, held: np.ndarray | None = None):
    """Value and the sums of metrics. held: log-probs that what is detached is computed from."""
    x = arrays
    lp, mu = x["logprobs"], x["behaviour_logprobs"]
    held = lp if held is None else held
    anchor = mu if o.correction == "none" else x["proximal_logprobs"]
    low, high = 1 - o.clip_epsilon, 1 + (o.clip_epsilon_high or o.clip_epsilon)
    total, sums = 0.0, dict.fromkeys(objectives.PolicySums._fields, 0.0)
    for b in range(len(lp)):
        targets = np.flatnonzero(x["weights"][b])
        n, advantage = len(targets), x["advantages"][b]
        for t in targets:
            group = [t] if o.ratio == "token" else targets

            def together(values, b=b, group=group, n=n) -> float:
                joint = sum(values[b, u] for u in group)
                return joint / n if o.ratio == "sequence_mean" else joint

            rho, detached = np.exp(together(lp - anchor)), np.exp(together(held - anchor))
            within = lambda ratio: min(max(ratio, low), high)  # noqa: E731
            is_clipped = rho != within(rho)
            if o.form == "ppo_min":
                value = min(rho * advantage, within(rho) * advantage)
                if o.dual_clip and advantage < 0:
                    value = max(value, o.dual_clip * advantage)
            elif o.form == "clip_only":
                value = within(rho) * advantage
            elif o.form == "is_detached":
                value = within(detached) * advantage * together(lp)
            elif o.form == "topr":
                is_clipped = advantage < 0 and rho > 1
                value = (min(detached, 1) if advantage < 0 else 1) * advantage * together(lp)
            else:
                value = min(np.exp(advantage / o.awr_temperature), o.awr_max_weight) * lp[b, t]
                is_clipped = np.exp(advantage / o.awr_temperature) > o.awr_max_weight
            correction = 1.0
            if o.correction != "none":
                weight = correction = np.exp(together(anchor - mu))
                if o.correction == "truncated":
                    correction = min(weight, o.correction_cap)
                if o.correction == "masked":
                    inside = o.correction_floor <= weight <= o.correction_cap
                    correction = weight if inside else 0.0
                sums["corrected"] += correction != weight
            a = x["weights"][b, t] / (n if o.aggregation == "sequence" else 1)
            total -= a * correction * value / (n if o.ratio == "sequence" else 1)
            if o.kl_weight:
                d = lp[b, t] - x["reference_logprobs"][b, t]
                kl = {"k1": d, "k2": d * d / 2, "k3": np.exp(-d) - 1 + d}[o.kl_estimator]
                total += o.kl_weight * a * kl
                sums["reference_kl"] += kl
            if o.entropy_weight and (not o.entropy_tokens or x["has_bonus"][b, t]):
                total -= o.entropy_weight * a * x["entropies"][b, t]
                sums["entropy"] += x["entropies"][b, t]
                sums["bonus_targets"] += 1
            gap = lp[b, t] - mu[b, t]
            sums["ratio"] += rho
            sums["clipped"] += is_clipped
            sums["kl"] += np.exp(gap) - 1 - gap
            sums["targets"] += 1
            sums["weight"] += np.exp(together(lp - mu))
            sums["weight_squared"] += np.exp(together(lp - mu)) ** 2
    return total / DENOMINATOR, sums


def differences(arrays: Arrays, objective: PolicyObjective, name: str) -> np.ndarray:
    """The loop's central differences by each log-prob or entropy, what is detached held fixed."""
    found, size = np.zeros((B, T)), 1e-6
    for at in itertools.product(range(B), range(T)):
        sides = []
        for sign in (1, -1):
            moved = arrays[name].copy()
            moved[at] += sign * size
            sides.append(loop(arrays | {name: moved}, objective, arrays["logprobs"])[0])
        found[at] = (sides[0] - sides[1]) / (2 * size)
    return found


@every
def test_policy_loss_is_the_loop(arrays, objective):
    (value, policy), sums = losses(arrays, objective)
    expected, expected_sums = loop(arrays, objective)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
    without = dataclasses.replace(objective, kl_weight=0.0, entropy_weight=0.0, entropy_tokens=None)
    np.testing.assert_allclose(policy, loop(arrays, without)[0], rtol=1e-5, atol=1e-7)
    for name, total in expected_sums.items():
        np.testing.assert_allclose(getattr(sums, name), total, rtol=1e-5, err_msg=name)
    by_logprob, by_entropy = gradients(arrays, objective)
    wanted = differences(arrays, objective, "logprobs")
    assert np.abs(wanted).max() > 1e-2
    np.testing.assert_allclose(by_logprob, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        by_entropy, differences(arrays, objective, "entropies"), rtol=1e-4, atol=1e-6
    )


def test_the_inputs_reach_every_case(arrays):
    """Else the loop would agree whatever is done beyond the band."""
    clipped = {name: loop(arrays, o)[1]["clipped"] for name, o in OBJECTIVES.items()}
    assert clipped["default"] == 4 and 0 < clipped["clip_higher"] < 4 and clipped["topr"] == 4
    for name in ("truncated", "masked", "masked_rows", "truncated_mean"):
        assert 0 < loop(arrays, OBJECTIVES[name])[1]["corrected"] < 8, name
    dual, plain = (gradients(arrays, OBJECTIVES[name])[0] for name in ("dual_clip", "default"))
    assert plain[1, 2] != 0 and dual[1, 2] == 0


LEVELS: tuple[RatioLevel, ...] = ("token", "sequence_mean", "sequence")
FORMS: tuple[PolicyForm, ...] = ("ppo_min", "clip_only", "is_detached")


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
@pytest.mark.parametrize(
    ("ratio", "form"), [*itertools.product(LEVELS, FORMS), ("sequence", "topr")]
)
def test_ratio_one_is_reinforce(arrays, ratio, form, aggregation):
    """Right after sampling the gradient is that of −Σ a A log π / n: levels and forms differ in
    nothing, aggregations in what a token weighs."""
    arrays["behaviour_logprobs"] = arrays["proximal_logprobs"] = arrays["logprobs"].copy()
    expected = -arrays["weights"] * arrays["advantages"][:, None] / DENOMINATOR
    if aggregation == "sequence":
        expected /= np.array([3, 4, 1, 1])[:, None]
    for correction in ("none", "full", "truncated", "masked") if form != "topr" else ("none",):
        objective = PolicyObjective(
            ratio=ratio, form=form, aggregation=aggregation, correction=correction
        )
        np.testing.assert_allclose(gradients(arrays, objective)[0], expected, rtol=1e-5)
        np.testing.assert_allclose(losses(arrays, objective)[1].kl, 0.0, atol=1e-6)


def test_only_k2_has_the_gradient_of_the_kl():
    """Of a policy over three tokens, exactly: E_π[∇k] by its logits against ∇KL(π‖reference)."""
    logits, reference = np.array([0.2, -0.5, 1.0]), np.log([0.5, 0.2, 0.3])

    def policy(z):
        return np.exp(z) / np.exp(z).sum()

    def kl(z):
        return policy(z) @ (np.log(policy(z)) - reference)

    size = 1e-6
    exact = [(kl(logits + size * e) - kl(logits - size * e)) / (2 * size) for e in np.eye(3)]
    logprobs = np.log(policy(logits))
    arrays = {
        "logprobs": logprobs[:, None],
        "behaviour_logprobs": logprobs[:, None],
        "advantages": np.zeros((3,)),
        "weights": policy(logits)[:, None] * DENOMINATOR,
        "reference_logprobs": reference[:, None],
        "entropies": np.zeros((3, 1)),
        "proximal_logprobs": logprobs[:, None],
        "has_bonus": np.ones((3, 1)),
    }
    by_logit = np.eye(3) - policy(logits)[None]  # ∂ log π_i / ∂ z_j
    found = {
        name: gradients(arrays, PolicyObjective(kl_weight=1.0, kl_estimator=name))[0][:, 0]
        @ by_logit
        for name in ("k1", "k2", "k3")
    }
    np.testing.assert_allclose(found["k2"], exact, rtol=1e-4)
    np.testing.assert_allclose(found["k1"], 0, atol=1e-6)
    np.testing.assert_allclose(found["k3"], policy(logits) - np.exp(reference), rtol=1e-4)


@every
def test_masked_columns_padding_and_cuts_do_not_matter(arrays, objective):
    """Prompts, interpreter output and padding may hold anything; rows may be cut apart."""
    expected, by_logprob, by_entropy = value_and_gradients(arrays, objective)
    masked = arrays["weights"] == 0
    by_token = [name for name, x in arrays.items() if x.shape == (B, T) and name != "weights"]
    for junk in (-np.inf, np.nan):
        changed = {k: v.copy() for k, v in arrays.items()}
        for name in by_token:
            changed[name][masked] = True if name == "has_bonus" else junk
        value, *both = value_and_gradients(changed, objective)
        assert value == expected
        for ours, wanted in zip(both, (by_logprob, by_entropy), strict=True):
            np.testing.assert_array_equal(ours, wanted)
            np.testing.assert_array_equal(ours[masked], 0)
    wide = ((0, 2), (0, 3))
    padded = {k: np.pad(v, wide[: v.ndim]) for k, v in arrays.items()}
    value, ours, _ = value_and_gradients(padded, objective)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ours, np.pad(by_logprob, wide), rtol=1e-5, atol=1e-8)
    halves = [{k: v[rows] for k, v in arrays.items()} for rows in (slice(0, 2), slice(2, B))]
    parts = [value_and_gradients(half, objective) for half in halves]
    np.testing.assert_allclose(sum(p[0] for p in parts), expected, rtol=1e-5, atol=1e-7)
    cut = np.concatenate([p[1] for p in parts])
    np.testing.assert_allclose(cut, by_logprob, rtol=1e-5, atol=1e-8)


@every
def test_nothing_to_learn_is_zero(arrays, objective):
    empty = arrays | {"weights": np.zeros((B, T))}
    (value, policy), sums = losses(empty, objective)
    assert float(value) == float(policy) == 0.0
    assert all(float(one) == 0 for one in sums)
    assert not any(part.any() for part in gradients(empty, objective))


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "awr"])
def test_no_advantage_is_zero(arrays, name):
    level = arrays | {"advantages": np.zeros((B,))}
    assert float(losses(level, PLAIN[name])[0].total) == 0.0
    assert not gradients(level, PLAIN[name])[0].any()


def test_a_rollout_far_from_its_policy_stays_finite(arrays):
    """400 nats: e^400 is no float32. Clipped for A > 0, without a gradient for A < 0."""
    arrays["behaviour_logprobs"] -= 100.0
    for form in FORMS:
        objective = PolicyObjective(ratio="sequence", form=form)
        assert np.isfinite(float(losses(arrays, objective)[0].total))
        assert np.isfinite(gradients(arrays, objective)[0]).all()


def test_rows_of_one_column():
    """By hand, at every level: ρ = (e^0.1, 1), A = (2, −1), over 7."""
    column = np.array([[-1.0], [-2.0]])
    arrays = {
        "logprobs": column,
        "behaviour_logprobs": column - np.array([[0.1], [0.0]]),
        "advantages": np.array([2.0, -1.0]),
        "weights": np.ones((2, 1)),
        "entropies": column,
        "proximal_logprobs": column,
        "reference_logprobs": column,
        "has_bonus": column,
    }
    for ratio in LEVELS:
        value = losses(arrays, PolicyObjective(ratio=ratio))[0].total
        np.testing.assert_allclose(value, -(np.exp(0.1) * 2 - 1.0) / 7, rtol=1e-5)


def test_truncated_sampling_would_silence_negative_advantages():
    """Why `RunConfig` refuses top-k, top-p and min-p in training: μ is 1/0.7 times π where the kept
    tokens hold 0.7, so the first step's ratio is 0.7, below the band. By hand: min(0.7·A, 0.8·A) is
    constant for A = −1, and what was bad is not unlearned; for A = 1 it is 0.7."""
    logprob = np.full((2, 1), -1.0)
    arrays = {
        "logprobs": logprob,
        "behaviour_logprobs": logprob - np.log(0.7),
        "advantages": np.array([-1.0, 1.0]),
        "weights": np.ones((2, 1)) * DENOMINATOR,
        "entropies": logprob,
        "proximal_logprobs": logprob,
        "reference_logprobs": logprob,
        "has_bonus": logprob,
    }
    default = PolicyObjective()
    np.testing.assert_allclose(losses(arrays, default)[0].total, 0.8 - 0.7, rtol=1e-5)
    np.testing.assert_allclose(gradients(arrays, default)[0], [[0.0], [-0.7]], rtol=1e-5)
    arrays["behaviour_logprobs"] = logprob  # π over the same kept set as μ
    np.testing.assert_allclose(gradients(arrays, default)[0], [[1.0], [-1.0]], rtol=1e-5)


REFUSED = {
    "dual_clip": {"dual_clip": 3.0, "form": "clip_only"},
    "must be above 1|greater than 1": {"dual_clip": 1.0},
    "ratio must be sequence where form is topr": {"form": "topr"},
    "ratio must be token where form is awr": {"form": "awr", "ratio": "sequence"},
    "clip_epsilon_high": {"form": "awr", "clip_epsilon_high": 0.3},
    "correction is full": {"form": "topr", "ratio": "sequence", "correction": "full"},
    "nothing lies between": {"correction": "masked", "correction_floor": 2.0},
    "entropy_weight is 0": {"entropy_tokens": 3},
}


@pytest.mark.parametrize(("message", "settings"), REFUSED.items(), ids=REFUSED)
def test_settings_that_contradict_are_refused(message: str, settings: dict):
    with pytest.raises(ValueError, match=message):
        PolicyObjective(**settings)


def test_likelihood():
    logprobs = np.array([[0.0, -1.0, -np.inf], [0.0, -3.0, -0.5]])
    weights = np.array([[0, 1.0, 0], [0, 0.25, 2.0]])
    of = functools.partial(objectives.likelihood_loss, total_weight=jnp.float32(3.25))
    arrays = jnp.asarray(logprobs, jnp.float32), jnp.asarray(weights, jnp.float32)
    value, grad = jax.value_and_grad(of)(*arrays)
    np.testing.assert_allclose(value, (1.0 + 0.75 + 1.0) / 3.25, rtol=1e-6)
    np.testing.assert_allclose(grad, -weights / 3.25, rtol=1e-6)
    nothing, grad = jax.value_and_grad(of)(arrays[0], 0 * arrays[1])
    assert float(nothing) == 0.0
    np.testing.assert_array_equal(grad, 0)


def test_decision_cross_entropy():
    """Unnormalised: the gradient by ℓ is −s*/n in every used row; padding has none."""
    decision_logprobs = np.array([[-1.0, -4.0], [-0.5, -2.0], [-1e30, -1e30], [-1e30, -np.inf]])
    strategy = np.array([[0.2, 0.8], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    of = functools.partial(objectives.decision_cross_entropy, num_problems=jnp.float32(2.0))
    value, grad = jax.value_and_grad(of)(
        jnp.asarray(decision_logprobs, jnp.float32), jnp.asarray(strategy, jnp.float32)
    )
    np.testing.assert_allclose(value, (0.2 * 1 + 0.8 * 4 + 0.5) / 2, rtol=1e-6)
    np.testing.assert_allclose(grad, -strategy / 2, rtol=1e-6)
