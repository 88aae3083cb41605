"""Whether the right decision was taken: the metrics of arXiv:2502.00691 (docs/method.md).

Per query, with forced runs of both decisions: the oracle takes text if text solves it (also when
both do), else code if code does. StrictAlign: chose as the oracle. AllowCode: chose code where
both work. MisAlign: the rest. All are shares of the queries that either decision solves.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from acim_jax.records import DECISIONS, DecisionName, Problem


@dataclasses.dataclass(frozen=True)
class Selection:
    """Shares; None where no query was solvable. oracle_accuracy: queries that either solves."""

    selection_accuracy: float | None
    strict_align: float | None
    allow_code: float | None
    mis_align: float | None
    oracle_accuracy: float | None


def judge(chose_code: np.ndarray, text_solves: np.ndarray, code_solves: np.ndarray) -> Selection:
    """All arguments are bool [P], one entry per query."""
    if not len(chose_code):
        return Selection(None, None, None, None, None)
    solvable = text_solves | code_solves
    oracle_code = code_solves & ~text_solves
    strict = solvable & (chose_code == oracle_code)
    allowed = solvable & chose_code & text_solves & code_solves
    count = int(solvable.sum())
    share = lambda hits: float(hits.sum()) / count if count else None  # noqa: E731
    return Selection(
        selection_accuracy=share(strict | allowed),
        strict_align=share(strict),
        allow_code=share(allowed),
        mis_align=share(solvable & ~strict & ~allowed),
        oracle_accuracy=float(solvable.mean()),
    )


def better_decisions(
    problems: Sequence[Problem], text_rewards: Sequence[float], code_rewards: Sequence[float]
) -> dict[str, DecisionName]:
    """The decision with the higher mean reward in each stratum; ties go to text."""
    totals: dict[str, np.ndarray] = {}
    for problem, text, code in zip(problems, text_rewards, code_rewards, strict=True):
        totals.setdefault(problem.stratum, np.zeros((len(DECISIONS),)))
        totals[problem.stratum] += (text, code)
    return {stratum: DECISIONS[int(total[1] > total[0])] for stratum, total in totals.items()}


def oracle_rewards(
    problems: Sequence[Problem],
    text_rewards: Sequence[float],
    code_rewards: Sequence[float],
    by_stratum: Mapping[str, DecisionName],
) -> np.ndarray:
    """The oracle selector's reward on each problem; text in a stratum that it does not know."""
    return np.array(
        [
            code if by_stratum.get(problem.stratum) == "code" else text
            for problem, text, code in zip(problems, text_rewards, code_rewards, strict=True)
        ]
    )
