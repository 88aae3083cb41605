"""What a rollout is worth to the M-step: its reward in training, and its advantage in its group."""

from collections.abc import Sequence

import numpy as np

from acim_jax.explore.config import ExploreConfig
from acim_jax.records import AdvantageName, Episode

#: δ of (r − mean)/(std + δ).
STD_FLOOR = 1e-4
#: These compare a guided rollout with the rollouts of both guides of its query; the others, with
#: those of its own guide.
OVER_QUERY: tuple[AdvantageName, ...] = ("whitened", "maxrl")


def rewards(group: Sequence[Episode], config: ExploreConfig) -> np.ndarray:
    """The rewards of training, float64 [n]: wrong + (right − wrong)·success + `overlong` − β·KL.

    success is `Episode.reward`, 0 to 1. Q̂, s* and all metrics are of the success, not of these.
    """
    success = np.array([episode.reward for episode in group], np.float64)
    worth = config.reward_wrong + (config.reward_right - config.reward_wrong) * success
    distance = np.array([episode.reference_kl for episode in group], np.float64)
    lengths = [episode.num_response_tokens for episode in group]
    return worth + overlong(lengths, config) - config.reward_kl * distance


def overlong(lengths: Sequence[int], config: ExploreConfig) -> np.ndarray:
    """DAPO's soft penalty min(0, −(len − (L_max − B))/B), and −1 beyond L_max (arXiv:2503.14476).

    lengths: of responses, in tokens, interpreter output included. B = 0 is no penalty.
    """
    if config.overlong_buffer == 0:
        return np.zeros(len(lengths))
    over = np.asarray(lengths) - (config.overlong_limit - config.overlong_buffer)
    return -np.clip(over / config.overlong_buffer, 0.0, 1.0)


def num_overlong(group: Sequence[Episode], config: ExploreConfig) -> int:
    """How many of the rollouts have such a penalty."""
    return int(
        np.count_nonzero(overlong([episode.num_response_tokens for episode in group], config))
    )


def have_signal(rewards: np.ndarray, name: AdvantageName) -> bool:
    """Whether some rollout of a group has an advantage other than 0."""
    if len(rewards) == 0:
        return False
    return bool(np.any(rewards) if name == "reward" else np.ptp(rewards) > 0)


def of_rewards(rewards: np.ndarray, name: AdvantageName) -> np.ndarray:
    """The advantage of each of a group's n rollouts that have a signal.

    normalised  (r − mean)/(std + δ)     GRPO, arXiv:2402.03300
    centred     r − mean                 Dr.GRPO, arXiv:2503.20783
    rloo        n/(n−1)·(r − mean)       each against the mean of the others, arXiv:2402.14740
    whitened    (r − mean)/(std + δ)     over both guides of a query
    exact_em    (r − Q̂)/Q̂                the gradient of log Q(x, c), with Q̂ for Q
    maxrl       r/mean − 1               over both guides, arXiv:2602.02710
    reward      r                        no baseline: with rewards of 0 and 1, rejection fine-tuning

    δ is `STD_FLOOR`, the std is the population's. Which rollouts are a group: `curate.py`.
    `exact_em` and `maxrl` are one formula over different groups. They need rewards of mean > 0:
    ValueError.
    """
    mean = rewards.mean()
    centred = rewards - mean
    match name:
        case "normalised" | "whitened":
            return centred / (rewards.std() + STD_FLOOR)
        case "centred":
            return centred
        case "rloo":
            return centred * len(rewards) / (len(rewards) - 1)
        case "reward":
            return rewards
        case "exact_em" | "maxrl":
            if mean <= 0:
                raise ValueError(
                    f"{name} divides by the mean reward, which is {mean:g}; it needs rewards of 0 "
                    "and more: leave explore.reward_wrong and overlong_buffer at 0."
                )
            return centred / mean
