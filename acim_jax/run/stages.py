"""In which stage a run is, and when the next one begins. No jax here.

All of it is a function of the config and of what the run folder holds: the metrics lines, and the
position in a checkpoint's metadata. So a run that was killed in the middle of a switch makes the
same one again.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from acim_jax.config.run import RunConfig
from acim_jax.config.stage import PlateauConfig
from acim_jax.run import metric_names
from acim_jax.run.metric_names import Metric

log = logging.getLogger(__name__)

Line = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Position:
    """The stage of an iteration, counted from 0, and the stage's first iteration."""

    stage: int = 0
    first: int = 1

    def last(self, config: RunConfig) -> int:
        """The stage's last iteration, if no plateau ends it earlier."""
        own = config.stages[self.stage].iterations if config.stages else None
        return config.run.iterations if own is None else self.first + own - 1

    def progress(self, iteration: int, config: RunConfig) -> float:
        """How much of the stage lies behind, for its schedule; 1 in its last iteration."""
        return (iteration - self.first) / max(self.last(config) - self.first, 1)

    def after(self, iteration: int, config: RunConfig, lines: Sequence[Line]) -> "Position":
        """The position of the iteration after `iteration`. lines: of metrics.jsonl."""
        if self.stage + 1 >= len(config.stages):
            return self
        rule = config.stages[self.stage].plateau
        if iteration < self.last(config):
            if rule is None or iteration < self.first + rule.at_least - 1:
                return self
            own = (line for line in lines if self.first <= line["iteration"] <= iteration)
            known = [float(x) for line in own if (x := line.get(rule.metric)) is not None]
            if not has_plateaued(known, rule):
                return self
        log.info(
            "stage %s ends with iteration %d; %s begins",
            *(config.stages[self.stage].name, iteration, config.stages[self.stage + 1].name),
        )
        return Position(self.stage + 1, iteration + 1)


def has_plateaued(values: Sequence[float], rule: PlateauConfig) -> bool:
    """Whether the mean of the last `window` values is at most `min_gain` above that of the ones
    before; never before there are twice as many."""
    n = rule.window
    if len(values) < 2 * n:
        return False
    return (sum(values[-n:]) - sum(values[-2 * n : -n])) / n <= rule.min_gain


def check(config: RunConfig) -> None:
    """ValueError for a plateau of something that no run measures."""
    for number, stage in enumerate(config.stages):
        metric = None if stage.plateau is None else stage.plateau.metric
        if metric and metric not in [*Metric] and not metric.startswith(metric_names.DOMAIN):
            raise ValueError(
                f"stages[{number}].plateau.metric: there is no metric {metric!r}; there are "
                f"{Metric.ACCURACY}, {Metric.REWARD} and the others of metrics.jsonl."
            )
