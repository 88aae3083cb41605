"""The figures of results.json: accuracy and decisions, from episodes' records. No jax here."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from acim_jax.evaluation import selection
from acim_jax.evaluation.episode_records import ByGuide, Judged, Judgements
from acim_jax.records import DECISIONS, GUIDES, group_by


def data(judgements: Judgements, samples: int, forced: Judgements | None) -> dict[str, Any]:
    """The `data` of results.json. forced: runs of another evaluation, by the same names, that judge
    the decisions; without it this one's own do, where it has native runs and both others."""
    tables: dict[str, Any] = {}
    for name, by_guide in judgements.items():
        table: dict[str, Any] = {
            guide: guide_table(by_guide[guide], samples) for guide in GUIDES if guide in by_guide
        }
        judges = by_guide if forced is None else forced[name]
        if "native" in by_guide and all(decision in judges for decision in DECISIONS):
            table["decisions"] = decisions_table(by_guide["native"], judges)
        tables[name] = table
    return tables


def guide_table(judged: Sequence[Judged], samples: int) -> dict[str, Any]:
    """The figures of one guide on one data set. A rate over nothing is None, never 0."""
    groups = list(group_by(judged, lambda one: one.problem_id).values())
    means = np.array([np.mean([one.reward for one in group]) for group in groups])
    n, executions = len(means), sum(one.executions for one in judged)
    counts = [k for k in (2**i for i in range(12)) if k <= samples]
    return {
        "n": n,
        "accuracy": mean(means),
        "stderr": float(means.std(ddof=1) / math.sqrt(n)) if n > 1 else None,
        "code_rate": mean([one.is_code for one in judged]),
        "executions_per_problem": executions / len(judged) if judged else None,
        "execution_ok_rate": (
            sum(one.executions_ok for one in judged) / executions if executions else None
        ),
        "pass_at": {str(k): mean([pass_at(group, k) for group in groups]) for k in counts},
        "maj_at": {
            str(k): mean([majority_at(group, k) for group in groups]) for k in counts if k > 1
        },
        "mean_response_tokens": mean([one.response_tokens for one in judged]),
        "stops": dict(sorted(Counter(one.stop for one in judged).items())),
    }


def pass_at(group: Sequence[Judged], k: int) -> float:
    """1 - C(n-c, k)/C(n, k): the chance that k of the n samples hold a correct one
    (arXiv:2107.03374, eq. 1). A partial reward counts as correct only at 1."""
    n, c = len(group), sum(one.reward >= 1.0 for one in group)
    return 1.0 if n - c < k else 1.0 - math.comb(n - c, k) / math.comb(n, k)


def majority_at(group: Sequence[Judged], k: int) -> float:
    """Reward of the commonest answer among the first k samples; ties go to the earlier one."""
    first = sorted(group, key=lambda one: one.sample)[:k]
    votes = Counter(one.answer for one in first if one.answer is not None)
    if not votes:
        return 0.0
    winner = votes.most_common(1)[0][0]
    return next(one.reward for one in first if one.answer == winner)


def decisions_table(native: Sequence[Judged], forced: ByGuide) -> dict[str, float | None]:
    """Selection metrics of the native runs, over the problems that have forced runs.

    A decision was chosen, or solves a problem, when at least half of the samples say so.
    """
    chose_code = _mean_per_problem(native, lambda one: one.is_code)
    text, code = (_mean_per_problem(forced[d], lambda one: one.reward) for d in DECISIONS)
    shared = [problem_id for problem_id in chose_code if problem_id in text and problem_id in code]
    columns = ([table[i] >= 0.5 for i in shared] for table in (chose_code, text, code))
    judged = selection.judge(*(np.array(column, bool) for column in columns))
    return dataclasses.asdict(judged)


def mean(values: Sequence[float | int] | np.ndarray) -> float | None:
    """A mean over nothing is None."""
    return float(np.mean(values)) if len(values) else None


def _mean_per_problem(
    judged: Sequence[Judged], value: Callable[[Judged], float | int]
) -> dict[str, float]:
    return {
        problem_id: float(np.mean([value(one) for one in group]))
        for problem_id, group in group_by(judged, lambda one: one.problem_id).items()
    }
