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

#: Resamples of a bootstrap: its own standard error is 2 % of what it estimates.
RESAMPLES = 1000


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
    """The figures of one guide on one data set. A rate over nothing is None, never 0.

    avg_at is the mean reward of all samples, its error that of `stderr`. pass_at_stderr and
    maj_at_stderr: by `bootstrap_stderr`. calls_per_solved: programs over right responses.
    ignored_rate: share of the right outputs whose response is wrong (`calls`). first_program: mean
    over the responses with a program.
    """
    groups = list(group_by(judged, lambda one: one.problem_id).values())
    means = np.array([np.mean([one.reward for one in group]) for group in groups])
    n, accuracy = len(means), mean(means)
    stderr = float(means.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    programs = [call for one in judged for call in one.calls]
    passed = {str(k): [pass_at(group, k) for group in groups] for k in counts(samples)}
    voted = {str(k): [majority_at(group, k) for group in groups] for k in counts(samples) if k > 1}
    by_class = {
        name: calls_table([one for one in judged if one.is_right is right])
        for name, right in (("right", True), ("wrong", False))
    }
    ignored, outputs = (
        sum(table[key] for table in by_class.values()) for key in ("ignored", "right_output")
    )
    return {
        "n": n,
        "accuracy": accuracy,
        "stderr": stderr,
        "avg_at": {str(samples): accuracy},
        "avg_at_stderr": {str(samples): stderr},
        "code_rate": mean([one.is_code for one in judged]),
        "executions_per_problem": len(programs) / len(judged) if judged else None,
        "execution_ok_rate": mean([call.ok for call in programs]),
        "pass_at": {k: mean(values) for k, values in passed.items()},
        "pass_at_stderr": {k: bootstrap_stderr(values) for k, values in passed.items()},
        "maj_at": {k: mean(values) for k, values in voted.items()},
        "maj_at_stderr": {k: bootstrap_stderr(values) for k, values in voted.items()},
        "calls": by_class,
        "calls_per_solved": ratio(len(programs), by_class["right"]["responses"]),
        "ignored_rate": ratio(ignored, outputs),
        "first_program": mean([x for one in judged if (x := one.first_program) is not None]),
        "mean_response_tokens": mean([one.response_tokens for one in judged]),
        "stops": dict(sorted(Counter(one.stop for one in judged).items())),
    }


def calls_table(judged: Sequence[Judged]) -> dict[str, int]:
    """Counts of the calls in responses that are all right, or all wrong (`calls`)."""
    programs = [(one, call) for one in judged for call in one.calls]
    return {
        "responses": len(judged),
        "calls": len(programs),
        "before_answer": sum(call.before_answer is True for _, call in programs),
        "ok": sum(call.ok for _, call in programs),
        "right_output": sum(call.right is True for _, call in programs),
        "ignored": sum(call.right is True and not one.is_right for one, call in programs),
    }


def bootstrap_stderr(values: Sequence[float]) -> float | None:
    """Standard error of a mean over problems: the standard deviation of the means of `RESAMPLES`
    draws of as many problems with replacement, always the same draws. None below two problems."""
    n = len(values)
    if n < 2:
        return None
    random, of_problem = np.random.default_rng(0), np.asarray(values)
    draws = [of_problem[random.integers(n, size=n)].mean() for _ in range(RESAMPLES)]
    return float(np.std(draws, ddof=1))


def counts(samples: int) -> list[int]:
    """The k of pass@k and maj@k: powers of two."""
    return [k for k in (2**i for i in range(12)) if k <= samples]


def pass_at(group: Sequence[Judged], k: int) -> float:
    """1 - C(n-c, k)/C(n, k): the chance that k of the n samples hold a correct one
    (arXiv:2107.03374, eq. 1)."""
    n, c = len(group), sum(one.is_right for one in group)
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


def ratio(count: int, of: int) -> float | None:
    """A share of nothing is None."""
    return count / of if of else None


def _mean_per_problem(
    judged: Sequence[Judged], value: Callable[[Judged], float | int]
) -> dict[str, float]:
    return {
        problem_id: float(np.mean([value(one) for one in group]))
        for problem_id, group in group_by(judged, lambda one: one.problem_id).items()
    }
