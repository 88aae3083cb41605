"""What in a run's metrics raises an alarm, line by line."""

import pytest

from acim_jax.run import alarms
from acim_jax.run.alarms import Alarm
from acim_jax.run.metric_names import Metric


@pytest.mark.parametrize(
    ("alarm", "metric", "quiet", "loud"),
    [
        (Alarm.NO_CODE, Metric.EVAL_CODE_RATE, [0.4, None, 0.1], [0.4, None, 0.01]),
        (Alarm.MASS, Metric.POLICY_MASS, [0.9, 0.5, 0.46], [0.9, 0.95, 0.44]),
        (Alarm.FENCES, Metric.FENCES_OPENED, [0.6, 0.6, 1.1], [0.6, 0.6, 1.3]),
        (Alarm.NO_VARIANCE, Metric.USABLE_GROUPS, [0.0, 0.03], [0.3, 0.01]),
        (Alarm.SKIPPED, Metric.SKIPPED_STEPS, [2.0, 0.0], [0.0, 1.0]),
    ],
)
def test_each_alarm_is_of_the_newest_line(alarm, metric, quiet, loud):
    assert alarms.of([{metric: value} for value in quiet]) == []
    assert alarms.of([{metric: value} for value in loud]) == [alarm]


def test_a_model_that_never_wrote_programs_has_not_lost_them():
    assert alarms.of([{Metric.EVAL_CODE_RATE: rate} for rate in (0.0, 0.0)]) == []


def test_an_alarm_that_stays_is_new_once():
    lines = [{Metric.USABLE_GROUPS: share} for share in (0.3, 0.0, 0.0)]
    assert alarms.new(lines[:2]) == [Alarm.NO_VARIANCE]
    assert alarms.new(lines) == []
    assert alarms.of([]) == alarms.new([]) == []
