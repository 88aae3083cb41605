"""Whether the right decision was taken: the metrics of arXiv:2502.00691 (docs/method.md).

Per query, by forced runs of both decisions: the right decision is text if text solves it (also when
both do), else code if code does. StrictAlign: chose the right one. AllowCode: chose code where
both work. MisAlign: the rest. All are shares of the queries that either decision solves.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from acim_jax.records import DecisionName, group_by

#: Of one problem: its `stratum`, and the rewards of its forced `text` and `code` runs, at least.
Record = Mapping[str, Any]


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


def gaps(records: Sequence[Record]) -> dict[str, float]:
    """Mean code reward minus mean text reward of the problems in each stratum."""
    return {
        stratum: math.fsum(record["code"] - record["text"] for record in group) / len(group)
        for stratum, group in group_by(records, lambda record: record["stratum"]).items()
    }


def better_decisions(records: Sequence[Record]) -> dict[str, DecisionName]:
    """The decision with the higher mean reward in each stratum; ties go to text."""
    return {stratum: "code" if gap > 0 else "text" for stratum, gap in gaps(records).items()}


def oracle_rewards(records: Sequence[Record], better: Mapping[str, DecisionName]) -> list[float]:
    """The oracle's reward on each problem; text in a stratum that `better` lacks."""
    return [record[better.get(record["stratum"], "text")] for record in records]
