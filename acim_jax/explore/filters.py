"""Which rollouts and groups are left out of the loss, and which of the right ones are preferred.

All are off by default, and each is counted (`records.DropReason`).
"""

from collections.abc import Sequence

import numpy as np

from acim_jax.explore import advantages
from acim_jax.explore.config import ExploreConfig
from acim_jax.explore.values import NO_VALUE
from acim_jax.records import DropReason, Episode, Stop, group_by


def refusal(episode: Episode, config: ExploreConfig) -> DropReason | None:
    """Why a rollout is not learned from; None if nothing speaks against it.

    truncated     it ran out of room (overlong filtering of DAPO, arXiv:2503.14476)
    void          its last turn holds no program and the response no answer (SimpleTIR,
                  arXiv:2509.02479). Every turn before ended in a program, or it would be the last
    other context it was sampled behind a hint, and `explore.hinted_logprobs` is `drop`
    calls failed  it ran programs, and none succeeded (TAO-RL, arXiv:2606.03762)
    """
    if episode.transplanted and config.hinted_logprobs == "drop":
        return DropReason.OTHER_CONTEXT
    if config.drop_truncated and episode.stop is Stop.LENGTH:
        return DropReason.TRUNCATED
    ended = episode.stop in (Stop.EOS, Stop.LENGTH)  # not by one program more than it may run
    if config.drop_void and ended and episode.answer is None:
        return DropReason.VOID
    if config.drop_calls_failed and episode.calls and episode.failed_calls == episode.calls:
        return DropReason.CALLS_FAILED
    return None


def in_band(group: Sequence[Episode], config: ExploreConfig) -> bool:
    """Whether the mean success of a group lies in `explore.accuracy_band`, ends included."""
    low, high = config.accuracy_band
    return low <= float(np.mean([episode.reward for episode in group])) <= high


def agreeing(episodes: Sequence[Episode], config: ExploreConfig) -> set[str]:
    """The problems whose rollouts, guided and native together, all have one reward of training.
    They teach neither what to answer nor how to decide, nor do those without any rollout of value.
    """
    groups = group_by(episodes, lambda e: e.problem_id)
    valued = {name: [e for e in of if e.stop not in NO_VALUE] for name, of in groups.items()}
    return {
        name
        for name, group in valued.items()
        if not group or np.ptp(advantages.rewards(group, config)) == 0
    }


def cleanest(order: Sequence[int], count: int, group: Sequence[Episode]) -> list[int]:
    """The first `count` of a drawn order, but the right ones among them exchanged for those right
    ones of the whole group with the fewest failed calls (rStar2-Agent, arXiv:2508.20722).

    Failures stay as they fell, and as many are right as fell. Among equals the order decides.
    There they are drawn in proportion to their quality; here the best are taken [ours].
    """
    right = [i for i in order if group[i].reward >= 1.0]
    failures = [i for i in order[:count] if group[i].reward < 1.0]
    right.sort(key=lambda i: group[i].failed_calls)
    return failures + right[: len(order[:count]) - len(failures)]
