"""Every name in a run's metrics comes from the one list, and every record's field has a name."""

from typing import NamedTuple

import pytest

from acim_jax.improve.fit import FitMetrics
from acim_jax.records import DropReason, Stop
from acim_jax.run import metric_names
from acim_jax.run.metric_names import Metric


def test_counts_have_a_name_for_every_member_counted_or_not():
    assert metric_names.by_member("curate/dropped/", DropReason, {DropReason.TOO_LONG: 3}) == {
        "curate/dropped/all_agree": 0.0,
        "curate/dropped/not_drawn": 0.0,
        "curate/dropped/other_context": 0.0,
        "curate/dropped/no_signal": 0.0,
        "curate/dropped/too_long": 3.0,
        "curate/dropped/prompt": 0.0,
        "curate/dropped/broke_guide": 0.0,
        "curate/dropped/infra": 0.0,
        "curate/dropped/truncated": 0.0,
        "curate/dropped/void": 0.0,
        "curate/dropped/calls_failed": 0.0,
        "curate/dropped/rejected": 0.0,
        "curate/dropped/replaced": 0.0,
        "curate/dropped/out_of_band": 0.0,
    }
    stops = metric_names.by_member(metric_names.ROLLOUTS_BY_STOP, Stop, {})
    assert stops["explore/stop/turns"] == 0.0
    assert len(stops) == len(Stop)


def test_a_field_without_a_name_is_refused():
    with pytest.raises(ValueError, match="'eval/oracles' is not a valid Metric"):
        metric_names.of_fields("eval", NamedTuple("Lines", [("oracles", float)])(0.5))


def test_the_m_step_has_a_name_for_each_of_its_metrics():
    named = {m.removeprefix("train/") for m in Metric if m.startswith("train/")}
    assert named == set(FitMetrics._fields)
