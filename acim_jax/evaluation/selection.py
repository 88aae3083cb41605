"""Whether the right decision was taken: the metrics of arXiv:2502.00691 (docs/method.md).

Per query, by forced runs of both decisions: the right decision is text if text solves it (also when
both do), else code if code does. StrictAlign: chose the right one. AllowCode: chose code where
both work. MisAlign: the rest. All are shares of the queries that either decision solves.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from acim_jax.records import DecisionName


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
    code_is_right = code_solves & ~text_solves
    strict = solvable & (chose_code == code_is_right)
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


def gaps(
    strata: Sequence[str], text_rewards: Sequence[float], code_rewards: Sequence[float]
) -> dict[str, float]:
    """Mean code reward minus mean text reward of the problems in each stratum."""
    differences: dict[str, list[float]] = {}
    for stratum, text, code in zip(strata, text_rewards, code_rewards, strict=True):
        differences.setdefault(stratum, []).append(code - text)
    return {stratum: math.fsum(found) / len(found) for stratum, found in differences.items()}


def better_decisions(
    strata: Sequence[str], text_rewards: Sequence[float], code_rewards: Sequence[float]
) -> dict[str, DecisionName]:
    """The decision with the higher mean reward in each stratum; ties go to text."""
    found = gaps(strata, text_rewards, code_rewards)
    return {stratum: "code" if gap > 0 else "text" for stratum, gap in found.items()}


def oracle_rewards(
    strata: Sequence[str],
    text_rewards: Sequence[float] | np.ndarray,
    code_rewards: Sequence[float] | np.ndarray,
    better: Mapping[str, DecisionName],
) -> np.ndarray:
    """The oracle's reward on each problem; text in a stratum that `better` lacks."""
    takes_code = [better.get(stratum) == "code" for stratum in strata]
    return np.where(takes_code, code_rewards, text_rewards)
