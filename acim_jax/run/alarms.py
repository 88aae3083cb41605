"""What in a run's metrics should worry who trains it. No jax here."""

import enum
from collections.abc import Callable, Mapping, Sequence

from acim_jax.run.metric_names import Metric

Line = Mapping[str, float | int | None]

#: The native code rate that a run should not fall under.
CODE_RATE_FLOOR = 0.02
#: Share of its first value that the mass of the decision prefixes should keep.
MASS_SHARE = 0.5
#: How much more often than before a rollout may open a fence.
FENCES_TIMES, FENCES_MORE = 2.0, 0.5
#: Share of rollout groups with a baseline whose rewards differ, below which little is learned.
USABLE_FLOOR = 0.02


class Alarm(enum.StrEnum):
    """The text says what happened and where to look."""

    NO_CODE = (
        "the model hardly writes programs any more: its native code rate fell under "
        f"{CODE_RATE_FLOOR} (explore.prior_floor, improve.decision_weight)"
    )
    MASS = (
        f"the decision prefixes have lost more than {1 - MASS_SHARE:.0%} of their probability: "
        "π(code) compares wordings that the model leaves (`acim prefixes`)"
    )
    FENCES = (
        f"rollouts open programs more than {FENCES_TIMES:g} times as often as before "
        "(explore/fences_opened, explore/stop/broke_guide)"
    )
    NO_VARIANCE = (
        "nearly all rollout groups agree, so the policy term has nothing to learn from: take "
        "harder or easier problems, or more rollouts (explore/usable_groups)"
    )
    SKIPPED = "gradients were not finite and their steps were skipped (improve.lr, model.dtype)"


def of(lines: Sequence[Line]) -> list[Alarm]:
    """The alarms of the newest of `metrics.jsonl`'s lines, beside those before it."""
    checks: Mapping[Alarm, Callable[[Sequence[Line]], bool]] = {
        Alarm.NO_CODE: _lost_code,
        Alarm.MASS: _lost_mass,
        Alarm.FENCES: _opens_more,
        Alarm.NO_VARIANCE: _agrees,
        Alarm.SKIPPED: lambda lines: (lines[-1].get(Metric.SKIPPED_STEPS) or 0) > 0,
    }
    return [alarm for alarm, is_on in checks.items() if lines and is_on(lines)]


def new(lines: Sequence[Line]) -> list[Alarm]:
    """Those that the line before did not have."""
    before = of(lines[:-1])
    return [alarm for alarm in of(lines) if alarm not in before]


def _known(lines: Sequence[Line], metric: Metric) -> list[float]:
    values = (line.get(metric) for line in lines)
    return [float(value) for value in values if value is not None]


def _lost_code(lines: Sequence[Line]) -> bool:
    rates = _known(lines, Metric.EVAL_CODE_RATE)
    return len(rates) > 1 and max(rates[:-1]) >= CODE_RATE_FLOOR > rates[-1]


def _lost_mass(lines: Sequence[Line]) -> bool:
    masses = _known(lines, Metric.POLICY_MASS)
    return len(masses) > 1 and masses[-1] < MASS_SHARE * masses[0]


def _opens_more(lines: Sequence[Line]) -> bool:
    opened = _known(lines, Metric.FENCES_OPENED)
    if len(opened) < 2:
        return False
    before = sum(opened[:-1]) / len(opened[:-1])
    return opened[-1] > FENCES_TIMES * before and opened[-1] > before + FENCES_MORE


def _agrees(lines: Sequence[Line]) -> bool:
    usable = lines[-1].get(Metric.USABLE_GROUPS)
    return usable is not None and usable < USABLE_FLOOR
