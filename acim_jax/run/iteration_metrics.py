"""An iteration's line of `metrics.jsonl`. A mean over nothing is None."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from acim_jax.em import e_step, loop
from acim_jax.environment.measurements import quantile
from acim_jax.explore import curriculum
from acim_jax.explore.config import ExploreConfig
from acim_jax.improve.fit import FitMetrics
from acim_jax.records import CurationCounts, DropReason, Episode, Status, Stop, group_by
from acim_jax.run import metric_names as names
from acim_jax.run.compilation import Compiled
from acim_jax.run.metric_names import DomainMetric, Metric

Metrics = dict[str, float | int | None]


def of_iteration(result: loop.Iteration, explore: ExploreConfig) -> Metrics:
    """Of the E-step, curation, the M-step, and the times of both."""
    return {
        **_of_exploration(result.exploration),
        **_of_domains(result, explore),
        **of_learning(result.curation, result.fit),
        **_times(result),
    }


def of_learning(curation: CurationCounts, fit: FitMetrics) -> Metrics:
    """Of curation and the M-step."""
    return {
        Metric.KEPT: float(curation.kept),
        Metric.REFLECTIONS: float(curation.reflections),
        Metric.OVERLONG: float(curation.overlong),
        **names.by_member(names.DROPPED_BY_REASON, DropReason, curation.dropped),
        **names.of_fields("train", fit),
    }


def _of_domains(result: loop.Iteration, explore: ExploreConfig) -> Metrics:
    """Of each domain of the mix, where there is one."""
    domains = {p.id: curriculum.domain(p, explore) for p in result.exploration.problems}
    episodes = group_by(result.exploration.episodes, lambda e: domains[e.problem_id])
    kept = Counter(domains[one.episode.problem_id] for one in result.examples)
    found: Metrics = {}
    for name in explore.mix:
        own = episodes.get(name, [])
        found |= names.of_domain(name, {
            DomainMetric.PROBLEMS: float(sum(of == name for of in domains.values())),
            DomainMetric.REWARD: _mean([e.reward for e in own]),
            DomainMetric.SOLVED: _mean([e.reward == 1 for e in own]),
            DomainMetric.CODE_RATE: _mean([e.decision == "code" for e in own]),
            DomainMetric.USABLE_GROUPS: _usable_groups(own),
            DomainMetric.RESPONSE_TOKENS: _mean([e.num_response_tokens for e in own]),
            DomainMetric.KEPT: float(kept[name]),
        })  # fmt: skip
    return found


def _usable_groups(episodes: Sequence[Episode]) -> float | None:
    rewards_by_group: dict[tuple[str, str], set[float]] = defaultdict(set)
    for episode in episodes:  # rollouts of one problem under one guide share a baseline
        rewards_by_group[episode.problem_id, episode.guide].add(episode.reward)
    return _mean([len(rewards) > 1 for rewards in rewards_by_group.values()])


def _of_exploration(found: e_step.Exploration) -> Metrics:
    episodes, values = found.episodes, found.values
    guided = [v for v in values if v.counts.all()]
    executions = [x for e in episodes for x in e.executions]
    return {
        Metric.REWARD: _mean([e.reward for e in episodes]),
        Metric.CODE_RATE: _mean([e.decision == "code" for e in episodes]),
        Metric.USABLE_GROUPS: _usable_groups(episodes),
        Metric.VALUE_TEXT: _mean([v.value[0] for v in guided]),
        Metric.VALUE_CODE: _mean([v.value[1] for v in guided]),
        Metric.VALUE_STDERR: _mean([s for v in guided for s in v.stderr]),
        Metric.POLICY_CODE: _mean([v.policy[1] for v in values]),
        Metric.POLICY_MASS: _mean([v.mass for v in values]),
        Metric.STRATEGY_CODE: _mean([s[1] for s in found.strategies.values()]),
        Metric.DEAD_QUERIES: float(len(guided) - len(found.strategies)),
        Metric.RESPONSE_TOKENS: _mean([e.num_response_tokens for e in episodes]),
        Metric.FENCES_OPENED: _mean([e.fences_opened for e in episodes]),
        Metric.SAMPLED_TOKENS: float(sum(e.num_model_tokens for e in episodes)),
        Metric.GRADER_TIMEOUTS: float(sum(e.graded == "timeout" for e in episodes)),
        **names.by_member(
            names.EXECUTIONS_BY_STATUS, Status, Counter(x.status for x in executions)
        ),
        **names.by_member(names.ROLLOUTS_BY_STOP, Stop, Counter(e.stop for e in episodes)),
    }


def _times(result: loop.Iteration) -> Metrics:
    stats, programs = result.exploration.stats, result.programs
    measured: Metrics = {}
    if graded := result.grading.seconds:
        measured |= {Metric.GRADE_P95: quantile(graded, 0.95), Metric.GRADE_SLOWEST: max(graded)}
    for seconds, p50, p95 in (
        (programs.latencies_s, Metric.PROGRAM_P50, Metric.PROGRAM_P95),
        (programs.waits_s, Metric.PROGRAM_WAIT_P50, Metric.PROGRAM_WAIT_P95),
    ):
        if seconds:
            measured |= {p50: quantile(seconds, 0.50), p95: quantile(seconds, 0.95)}
    return {
        Metric.TIME_EXPLORE: result.explore_s,
        Metric.TIME_EXECUTE: stats.execute_s,
        Metric.PREFILL_TOKENS: float(stats.prefill_tokens),
        Metric.NEAR_TIES: float(stats.near_ties),
        Metric.FULL_SLOTS: stats.sampled_tokens / max(stats.slot_steps, 1),
        Metric.TIME_IMPROVE: result.improve_s,
        **measured,
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
