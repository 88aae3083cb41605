"""Evaluation: native, forced-text and forced-code decoding of the same problems, side by side."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from acim_jax.environment.executor import Executor
from acim_jax.evaluation import selection
from acim_jax.evaluation.episode_rows import Judged
from acim_jax.grading import reward
from acim_jax.grading.grader import Grader
from acim_jax.model import transformer
from acim_jax.records import Episode, Guide, Problem, RolloutRequest, SamplingParams
from acim_jax.rollout import processes
from acim_jax.rollout.sampler import Sampler


def requests(
    problems: Sequence[Problem], guide: Guide, sampler: Sampler, samples: int
) -> list[RolloutRequest]:
    """`samples` rollouts of every problem; a forced decision takes its first prefix."""
    prefix = "" if guide == "native" else sampler.markup.prefixes(guide)[0]
    return [RolloutRequest(p, guide, k, prefix) for p in problems for k in range(samples)]


def rollouts(
    params: transformer.Params,
    wanted: Sequence[RolloutRequest],
    sampler: Sampler,
    executor: Executor,
    grader: Grader,
    *,
    sampling: SamplingParams,
    seed: int,
    on_done: Callable[[], None] = lambda: None,
) -> list[Episode]:
    """Scored episodes in the order of `wanted`. Forced text runs with the executor switched off.

    Evaluation draws under iteration −1, so it shares no randomness with training.
    """
    by_id = {request.problem.id: request.problem for request in wanted}
    episodes, _ = processes.converse(
        params,
        wanted,
        sampler,
        executor,
        seed=seed,
        iteration=-1,
        sampling=sampling,
        score=lambda own: reward.score(own, by_id, grader, executor, sampler.markup),
        on_done=on_done,
    )
    return episodes


def guide_table(judged: Sequence[Judged], samples: int) -> dict[str, Any]:
    """The figures of one guide on one data set. A rate over nothing is None, never 0."""
    by_problem: dict[str, list[Judged]] = {}
    for one in judged:
        by_problem.setdefault(one.problem_id, []).append(one)
    means = np.array([np.mean([j.reward for j in group]) for group in by_problem.values()])
    n, executions = len(means), sum(j.executions for j in judged)
    counts = [k for k in (2**i for i in range(12)) if k <= samples]
    return {
        "n": n,
        "accuracy": float(means.mean()) if n else None,
        "stderr": float(means.std(ddof=1) / math.sqrt(n)) if n > 1 else None,
        "code_rate": _mean([float(j.is_code) for j in judged]),
        "executions_per_problem": executions / len(judged) if judged else None,
        "execution_ok_rate": (
            sum(j.executions_ok for j in judged) / executions if executions else None
        ),
        "pass_at": {str(k): _mean([pass_at(g, k) for g in by_problem.values()]) for k in counts},
        "maj_at": {
            str(k): _mean([majority_at(g, k) for g in by_problem.values()]) for k in counts if k > 1
        },
        "mean_response_tokens": _mean([float(j.response_tokens) for j in judged]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def pass_at(group: Sequence[Judged], k: int) -> float:
    """1 − C(n−c, k)/C(n, k): the chance that k of the n samples hold a right one
    (arXiv:2107.03374, eq. 1); a partial reward counts as right only at 1."""
    n, c = len(group), sum(j.reward >= 1.0 for j in group)
    return 1.0 if n - c < k else 1.0 - math.comb(n - c, k) / math.comb(n, k)


def majority_at(group: Sequence[Judged], k: int) -> float:
    """Reward of the commonest answer among the first k samples; ties go to the earlier one."""
    first = sorted(group, key=lambda j: j.sample)[:k]
    votes = Counter(j.answer for j in first if j.answer is not None)
    if not votes:
        return 0.0
    winner = votes.most_common(1)[0][0]
    return next(j.reward for j in first if j.answer == winner)


def decisions_table(
    by_guide: Mapping[str, Sequence[Judged]], oracle: Mapping[str, Sequence[Judged]]
) -> dict[str, float | None]:
    """Selection metrics of the native runs. A decision solves a problem, or was the one chosen,
    when at least half of its samples say so; `oracle` holds the forced runs to judge by."""
    native = _per_problem(by_guide["native"], lambda j: float(j.is_code))
    text = _per_problem(oracle["text"], lambda j: j.reward)
    code = _per_problem(oracle["code"], lambda j: j.reward)
    shared = [problem_id for problem_id in native if problem_id in text and problem_id in code]
    at_least_half = lambda table: np.array([table[i] >= 0.5 for i in shared], bool)  # noqa: E731
    judged = selection.judge(at_least_half(native), at_least_half(text), at_least_half(code))
    return {
        "selection_accuracy": judged.selection_accuracy,
        "strict_align": judged.strict_align,
        "allow_code": judged.allow_code,
        "mis_align": judged.mis_align,
        "oracle_accuracy": judged.oracle_accuracy,
    }


def _per_problem(judged: Sequence[Judged], value: Callable[[Judged], float]) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for one in judged:
        groups.setdefault(one.problem_id, []).append(value(one))
    return {problem_id: float(np.mean(values)) for problem_id, values in groups.items()}
