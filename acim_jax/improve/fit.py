"""The M-step: a host loop that feeds the compiled functions of `step.py`."""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from acim_jax import rng
from acim_jax.improve import mismatch, objectives, packing, rescoring, step
from acim_jax.improve.config import ImproveConfig
from acim_jax.improve.learner import Learner
from acim_jax.improve.mismatch import Mismatch
from acim_jax.improve.packing import DecisionBatch, TokenBatch, TokenRow
from acim_jax.improve.state import TrainState
from acim_jax.improve.training_set import TrainingSet
from acim_jax.model import lora
from acim_jax.sharding import place


class FitMetrics(NamedTuple):
    """Of one M-step. Losses are means over the optimiser steps that had the term (the policy
    term's includes its weight); ratio, clip fraction, KL(μ‖π), reference KL and entropy are means
    over target tokens (the entropy over those with a bonus). ess: effective sample size of the
    weights π/μ at the ratio's level, (Σu)²/(n Σu²). correction_fraction: of target tokens, those
    whose π_prox/μ was truncated or masked. recomputed_fraction, stale_fraction: of the rows, those
    whose log μ is the trainer's, and those that earlier iterations sampled. drawn_tokens: of
    `records.CurationCounts`. grad_norm: of all terms together, mean over steps; grad_norm_policy
    and its like: of one term (its weight included), mean over the steps that it led. skipped_steps:
    their gradients were not finite.
    mismatch: as of `mismatch.Mismatch`, on the first minibatch before any update. None where there
    was nothing."""

    policy_loss: float | None
    decision_loss: float | None
    replay_loss: float | None
    ratio_mean: float | None
    clip_fraction: float | None
    kl: float | None
    ess: float | None
    correction_fraction: float | None
    reference_kl: float | None
    entropy: float | None
    target_tokens: float
    recomputed_fraction: float | None
    stale_fraction: float | None
    drawn_tokens: float
    steps: float
    grad_norm: float | None
    grad_norm_policy: float | None
    grad_norm_decision: float | None
    grad_norm_replay: float | None
    skipped_steps: float
    mismatch: float | None
    mismatch_largest: float | None
    mismatch_off_01: float | None
    mismatch_off_1: float | None
    mismatch_off_5: float | None
    mismatch_kl: float | None
    lr: float


class _Call(NamedTuple):
    """A gradient to add: the compiled function, a microbatch, and the numbers after it."""

    add: Callable[..., Any]
    batch: TokenBatch | DecisionBatch
    numbers: tuple[np.float32, ...]


class _Step(NamedTuple):
    """One optimiser step, still on the device. terms: what each term measured, microbatch by
    microbatch. leading: the norm of the term whose gradient was computed first."""

    terms: Mapping[str, list[Any]]
    norm: Any
    leading: Mapping[str, Any]


def learning_rate(config: ImproveConfig, progress: float) -> float:
    """Linear from lr at progress 0 to lr·final_lr_fraction at progress 1."""
    return config.lr * (1.0 + (config.final_lr_fraction - 1.0) * progress)


def improve(
    state: TrainState,
    data: TrainingSet,
    learner: Learner,
    config: ImproveConfig,
    *,
    seed: int,
    iteration: int,
    lr: float,
    int8_cache: bool = False,
) -> tuple[TrainState, FitMetrics]:
    """One M-step: `epochs` passes over the rows in `minibatches` optimiser steps each.

    Minibatches are drawn from (seed, iteration, epoch), so a resumed run sees the same ones. Every
    step divides the policy term by drawn_tokens / minibatches and the decision term by
    num_problems / minibatches: what a row or a query weighs does not depend on how many others
    have a signal, in its minibatch or in the iteration, and an epoch's gradients at fixed
    parameters have one mean, however it is cut into minibatches. Where rollouts are averaged
    (aggregation `sequence`), drawn_rollouts stands for drawn_tokens, and where tokens are divided
    by a constant length, drawn_rollouts times that.

    π_prox and the reference's log-probs are computed before the first update, for all rows. The
    terms take turns in being first, so that each norm is known without its own accumulator.
    An optimiser step that no term has anything for is left out; one whose gradient is not finite
    changes nothing. RuntimeError where none of them was finite, and for log-probs of the sampler
    that are not the trainer's (`mismatch.check`). int8_cache: of the sampler's keys and values.
    """
    steps: list[_Step] = []
    heat = data.temperature
    every = rescoring.rescored(data.rows, state.params, learner, config, temperature=heat)
    draws = [rng.host(seed, iteration, "minibatches", epoch) for epoch in range(config.epochs)]
    orders = [draw.permutation(len(every)) for draw in draws]
    own = _of_the_sampler(every, orders[0], config)
    gap = mismatch.measure(state.params, own, learner, config, temperature=heat)
    mismatch.check(gap, mismatch.limit(config, learner.model, int8_cache=int8_cache))
    for epoch, order in enumerate(orders):
        for nth, chosen in enumerate(np.array_split(order, config.minibatches)):
            rows = [every[i] for i in chosen]
            at = epoch * config.minibatches + nth
            calls = [*_calls(data, at, rows, config).items()]
            if not calls:
                continue
            first = _leader([name for name, _ in calls], steps, iteration)
            gradients, terms, leading = _accumulate(
                state.params, calls[first:] + calls[:first], learner, config
            )
            state, norm = step.apply(state, gradients, np.float32(lr), optimiser=learner.optimiser)
            steps.append(_Step(terms, norm, leading))
    return state, _summary(jax.device_get(steps), gap, data, config, lr)


def _of_the_sampler(
    rows: Sequence[TokenRow], order: np.ndarray, config: ImproveConfig
) -> list[TokenRow]:
    """A minibatch's worth of the rows whose log-probs are those of this iteration's sampler, by the
    order in which they come."""
    own = [rows[i] for i in order if rows[i].age == 0 and not rows[i].is_recomputed]
    return own[: -(-len(rows) // config.minibatches)]


def policy_denominator(data: TrainingSet, config: ImproveConfig) -> float:
    """What an epoch's policy term is divided by."""
    match config.aggregation:
        case "token":
            return data.drawn_tokens
        case "sequence":
            return data.drawn_rollouts
        case "constant":
            return data.drawn_rollouts * (config.constant_length or config.buckets[-1])


def _leader(names: Sequence[str], before: Sequence[_Step], iteration: int) -> int:
    """Which of a step's terms is first: one that led fewest of the steps before it."""
    led = [sum(name in one.leading for one in before) for name in names]
    return min(range(len(names)), key=lambda i: (led[i], (i - iteration) % len(names)))


def _calls(
    data: TrainingSet, at: int, rows: Sequence[TokenRow], config: ImproveConfig
) -> dict[str, list[_Call]]:
    """Optimiser step `at`: the calls of each term that has something to learn from."""
    temperature = np.float32(data.temperature)
    add_policy = functools.partial(step.add_policy_gradient, objective=config.objective)
    taught = rows if config.policy_weight > 0 else ()
    denominator = policy_denominator(data, config) / config.minibatches
    denominator = np.float32(denominator / max(config.policy_weight, 1e-9))
    replay = data.replay[at] if data.replay else ()
    weight = np.float32(config.replay_weight)
    total_weight = np.float32(max(sum(float(row.weights.sum()) for row in replay), 1e-9))
    calls = {
        "policy": [
            _Call(add_policy, batch, (denominator, temperature))
            for batch in packing.microbatches(taught, config.buckets, config.microbatch_rows)
        ],
        "replay": [
            _Call(step.add_likelihood_gradient, batch, (total_weight, weight))
            for batch in packing.microbatches(replay, config.buckets, config.microbatch_rows)
        ],
        "decision": [],
    }
    if data.decisions and np.any(data.decisions[at].strategy):
        num_problems = np.float32(data.num_problems / config.minibatches)
        numbers = (num_problems, np.float32(config.decision_weight), temperature)
        calls["decision"] = [_Call(step.add_decision_gradient, data.decisions[at], numbers)]
    return {name: own for name, own in calls.items() if own}


def _accumulate(
    params: lora.Params,
    calls: Sequence[tuple[str, Sequence[_Call]]],
    learner: Learner,
    config: ImproveConfig,
) -> tuple[lora.Params, dict[str, list[Any]], dict[str, jax.Array]]:
    """The gradient of all terms, what each measured, and the norm of the first one's."""
    gradients = step.zeros(params, layout=learner.layout)
    terms: dict[str, list[Any]] = {}
    leading: dict[str, jax.Array] = {}
    for name, own in calls:
        terms[name] = []
        for call in own:
            gradients, term = call.add(
                gradients,
                params,
                place.batch(call.batch, learner.layout),
                *call.numbers,
                chunk=config.logprob_chunk,
                **learner.shared,
            )
            terms[name].append(term)
        if not leading:
            leading[name] = step.norm(gradients)
    return gradients, terms, leading


def _summary(
    steps: Sequence[_Step],
    gap: Mismatch | None,
    data: TrainingSet,
    config: ImproveConfig,
    lr: float,
) -> FitMetrics:
    def loss(term: str, of: Callable[[Any], Any] = lambda one: one) -> float | None:
        parts = [[of(one) for one in s.terms[term]] for s in steps if term in s.terms]
        return float(np.mean([np.sum(part) for part in parts])) if parts else None

    def led(term: str) -> float | None:
        return _mean_norm([s.leading[term] for s in steps if term in s.leading])

    skipped = sum(not np.isfinite(s.norm) for s in steps)
    if steps and skipped == len(steps):
        raise RuntimeError(
            f"None of the iteration's {len(steps)} optimiser steps had a finite gradient; nothing "
            "was updated. Lower improve.lr, or compute in float32 (model.dtype)."
        )
    policy = [term for s in steps for term in s.terms.get("policy", ())]
    fields = objectives.PolicySums._fields
    totals = np.sum([term.sums for term in policy], axis=0) if policy else np.zeros((len(fields),))
    total: dict[str, float] = dict(zip(fields, totals.tolist(), strict=True))
    count = total["targets"]
    per_target = lambda name: total[name] / count if count else None  # noqa: E731
    return FitMetrics(
        policy_loss=loss("policy", lambda term: term.loss),
        decision_loss=loss("decision"),
        replay_loss=loss("replay"),
        ratio_mean=per_target("ratio"),
        clip_fraction=per_target("clipped"),
        kl=per_target("kl"),
        ess=total["weight"] ** 2 / (count * total["weight_squared"]) if count else None,
        correction_fraction=per_target("corrected") if config.correction != "none" else None,
        reference_kl=per_target("reference_kl") if config.kl_weight > 0 else None,
        entropy=total["entropy"] / total["bonus_targets"] if total["bonus_targets"] else None,
        target_tokens=count,
        recomputed_fraction=_share([row.is_recomputed for row in data.rows]),
        stale_fraction=_share([row.age > 0 for row in data.rows]),
        drawn_tokens=data.drawn_tokens,
        steps=float(len(steps)),
        grad_norm=_mean_norm([s.norm for s in steps]),
        grad_norm_policy=led("policy"),
        grad_norm_decision=led("decision"),
        grad_norm_replay=led("replay"),
        skipped_steps=float(skipped),
        **_of_mismatch(gap),
        lr=lr,
    )


def _share(of: Sequence[bool]) -> float | None:
    return float(np.mean(of)) if of else None


def _mean_norm(norms: Sequence[Any]) -> float | None:
    finite = [float(norm) for norm in norms if np.isfinite(norm)]
    return float(np.mean(finite)) if finite else None


def _of_mismatch(gap: Mismatch | None) -> dict[str, float | None]:
    values = (None,) * len(Mismatch._fields) if gap is None else gap
    names = ("mismatch" if name == "mean" else f"mismatch_{name}" for name in Mismatch._fields)
    return dict(zip(names, values, strict=True))
