"""An iteration's line of `metrics.jsonl`. A mean over nothing is None."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from acim_jax import em
from acim_jax.environment.measurements import quantile
from acim_jax.improve.fit import FitMetrics
from acim_jax.records import Episode
from acim_jax.run import metric_names
from acim_jax.run.compilation import Compiled
from acim_jax.run.metric_names import Metric

Metrics = dict[str, float | int | None]


def of_iteration(result: em.Iteration) -> Metrics:
    """Of the E-step, curation, the M-step, and the times of both."""
    return {
        **_of_exploration(result.exploration),
        Metric.KEPT: float(result.curation.kept),
        **metric_names.by_reason(result.curation.dropped),
        **_of_fit(result.fit),
        **_times(result),
    }


def _of_exploration(found: em.Exploration) -> Metrics:
    episodes, values, stats = found.episodes, found.values, found.stats
    guided = [v for v in values if v.counts.all()]
    groups = _groups(episodes)
    executions = [x for e in episodes for x in e.executions]
    return {
        Metric.REWARD: _mean([e.reward for e in episodes]),
        Metric.CODE_RATE: _mean([e.decision == "code" for e in episodes]),
        Metric.USABLE_GROUPS: _mean([len({e.reward for e in group}) > 1 for group in groups]),
        Metric.VALUE_TEXT: _mean([v.value[0] for v in guided]),
        Metric.VALUE_CODE: _mean([v.value[1] for v in guided]),
        Metric.VALUE_STDERR: _mean([s for v in guided for s in v.stderr]),
        Metric.POLICY_CODE: _mean([v.policy[1] for v in values]),
        Metric.POLICY_MASS: _mean([v.mass for v in values]),
        Metric.STRATEGY_CODE: _mean([s[1] for s in found.strategies.values()]),
        Metric.DEAD_QUERIES: float(len(guided) - len(found.strategies)),
        Metric.RESPONSE_TOKENS: _mean([e.num_response_tokens for e in episodes]),
        Metric.FENCES_OPENED: _mean([e.fences_opened for e in episodes]),
        Metric.SAMPLED_TOKENS: float(stats.sampled_tokens),
        Metric.PREFILL_TOKENS: float(stats.prefill_tokens),
        Metric.NEAR_TIES: float(stats.near_ties),
        Metric.GRADER_TIMEOUTS: float(sum(e.graded == "timeout" for e in episodes)),
        **metric_names.by_status(collections.Counter(x.status for x in executions)),
        **metric_names.by_stop(collections.Counter(e.stop for e in episodes)),
    }


def _groups(episodes: Sequence[Episode]) -> list[list[Episode]]:
    """Rollouts that share a baseline: those of one problem under one guide."""
    groups: dict[tuple[str, str], list[Episode]] = {}
    for episode in episodes:
        groups.setdefault((episode.problem_id, episode.guide), []).append(episode)
    return list(groups.values())


def _of_fit(fit: FitMetrics) -> Metrics:
    return {
        Metric.POLICY_LOSS: fit.policy_loss,
        Metric.DECISION_LOSS: fit.decision_loss,
        Metric.REPLAY_LOSS: fit.replay_loss,
        Metric.RATIO_MEAN: fit.ratio_mean,
        Metric.CLIP_FRACTION: fit.clip_fraction,
        Metric.KL: fit.kl,
        Metric.TARGET_TOKENS: fit.target_tokens,
        Metric.STEPS: fit.steps,
        Metric.GRAD_NORM: fit.grad_norm,
        Metric.LR: fit.lr,
    }


def _times(result: em.Iteration) -> Metrics:
    stats, programs = result.exploration.stats, result.programs
    of_programs = {
        Metric.PROGRAM_P50: quantile(programs.latencies_s, 0.50),
        Metric.PROGRAM_P95: quantile(programs.latencies_s, 0.95),
        Metric.PROGRAM_WAIT_P50: quantile(programs.waits_s, 0.50),
        Metric.PROGRAM_WAIT_P95: quantile(programs.waits_s, 0.95),
    }
    return {
        Metric.TIME_EXPLORE: result.explore_s,
        Metric.TIME_EXECUTE: stats.execute_s,
        Metric.FULL_SLOTS: stats.sampled_tokens / max(stats.slot_steps, 1),
        Metric.TIME_IMPROVE: result.improve_s,
        **{name: value for name, value in of_programs.items() if value is not None},
    }


def of_compilation(compiled: Compiled) -> Metrics:
    return {Metric.COMPILE_COUNT: compiled.executables, Metric.COMPILE_SECONDS: compiled.seconds}


def one_line(iteration: int, last: int, metrics: Metrics) -> str:
    """What the log says of an iteration."""
    parts = [f"iteration {iteration} of {last}"]
    for name, text in (
        (Metric.REWARD, "reward {:.3f}"),
        (Metric.CODE_RATE, "code rate {:.2f}"),
        (Metric.ACCURACY, "accuracy {:.3f}"),
        (Metric.SELECTION_ACCURACY, "selection {:.3f}"),
        (Metric.TIME_TOTAL, "{:.1f} s"),
    ):
        if metrics.get(name) is not None:
            parts.append(text.format(metrics[name]))
    return ", ".join(parts)


def _mean(values: Sequence[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None
