"""From rollouts to training examples: which episodes are learned from, and with what advantage."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from acim_jax import rng
from acim_jax.explore.config import ExploreConfig
from acim_jax.records import (
    DECISIONS,
    GUIDES,
    AdvantageName,
    CurationCounts,
    DecisionValues,
    DropReason,
    Episode,
    Example,
    Stop,
    group_by,
)

#: δ of (r − b)/(std + δ).
STD_FLOOR = 1e-4
_Dropped = collections.Counter[DropReason]


def examples(
    episodes: Sequence[Episode],
    values: Sequence[DecisionValues],
    strategies: Mapping[str, np.ndarray],
    config: ExploreConfig,
    *,
    advantage: AdvantageName,
    fits: Callable[[Episode], bool],
    seed: int,
    iteration: int,
) -> tuple[list[Example], CurationCounts]:
    """D_train of the M-step, and what became of every rollout.

    Per query n_c ~ Multinomial(keep, s*(·|x)) guided rollouts are drawn without replacement among
    the R_c of guide c; native rollouts are all kept (plain RL). Sampling by s* already weights the
    policy term, so examples are not weighted again; with keep = 0 every rollout is kept with weight
    s*_c·C·R/R_c instead (R of the config): its expectation under the draw of C·R. strategies: s* by
    problem id; a query without one (every rollout failed) keeps nothing.

    The baseline is the mean over the group that shares the sampled decision: after a *forced*
    prefix no sampled token carries the decision, so it is Q̂(x, c) of that guide; native rollouts
    sampled the decision themselves, so it is the query's mean over both. Groups whose rollouts all
    agree have no gradient and are dropped, but count in `CurationCounts.drawn_tokens`.
    """
    dropped: _Dropped = collections.Counter()
    kept: list[Example] = []
    size = config.keep or len(DECISIONS) * config.guided_rollouts
    drawn_tokens = 0.0
    groups = group_by(episodes, lambda e: e.problem_id)
    for one in values:
        usable = _usable(groups.get(one.problem_id, []), fits, dropped)
        native, *guided = ([e for e in usable if e.guide == guide] for guide in GUIDES)
        kept += _advantages(native, advantage, dropped)
        strategy = strategies.get(one.problem_id)
        drawn_tokens += _tokens(native) + _expected_tokens(guided, strategy, size)
        if strategy is None:
            dropped[DropReason.NO_SIGNAL] += sum(len(group) for group in guided)
            continue
        draw = rng.host(seed, iteration, "curate", one.problem_id)
        wanted: list[int] = draw.multinomial(config.keep, strategy).tolist()
        for c, group in enumerate(guided):
            candidates = _advantages(group, advantage, dropped)
            if config.keep == 0:
                chosen = _weighted(candidates, float(strategy[c]) * size / max(len(group), 1))
            else:
                chosen = _drawn(candidates, group, wanted[c], draw)
            dropped[DropReason.NOT_DRAWN] += len(candidates) - len(chosen)
            kept += chosen
    counts = CurationCounts(len(episodes), len(kept), dict(dropped), len(values), drawn_tokens)
    return kept, counts


def _tokens(group: Sequence[Episode]) -> int:
    return sum(episode.num_model_tokens for episode in group)


def _expected_tokens(
    guided: Sequence[Sequence[Episode]], strategy: np.ndarray | None, size: int
) -> float:
    """size · Σ_c s*_c · (mean target tokens under guide c), whatever the rewards and the draw.

    Without s* the mean is over the query's guided rollouts. A guide without any adds nothing.
    """
    if strategy is None:
        everything = [episode for group in guided for episode in group]
        return size * _tokens(everything) / max(len(everything), 1)
    means = [_tokens(group) / max(len(group), 1) for group in guided]
    return size * float(np.dot(strategy, means))


def _drawn(
    candidates: Sequence[Example], group: Sequence[Episode], count: int, draw: np.random.Generator
) -> list[Example]:
    """The candidates among `count` rollouts of their group, drawn without replacement."""
    order: list[int] = draw.permutation(len(group)).tolist()
    drawn = {id(group[i]) for i in order[:count]}
    return [example for example in candidates if id(example.episode) in drawn]


def _weighted(candidates: Sequence[Example], weight: float) -> list[Example]:
    if weight == 0:
        return []
    return [dataclasses.replace(example, weight=weight) for example in candidates]


def _usable(
    group: Sequence[Episode],
    fits: Callable[[Episode], bool],
    dropped: _Dropped,
) -> list[Episode]:
    """Without episodes that our executor failed, that never began or broke their guide, or that no
    row can hold."""
    usable: list[Episode] = []
    for episode in group:
        if episode.stop in (Stop.INFRA, Stop.PROMPT, Stop.BROKE_GUIDE):
            dropped[DropReason(episode.stop.value)] += 1
        elif not fits(episode):
            dropped[DropReason.TOO_LONG] += 1
        else:
            usable.append(episode)
    return usable


def _advantages(group: Sequence[Episode], name: AdvantageName, dropped: _Dropped) -> list[Example]:
    """Every episode of a group with (r − mean), scaled by its std if asked; none if all agree."""
    rewards = np.array([episode.reward for episode in group], np.float64)
    if len(rewards) == 0 or np.ptp(rewards) == 0:
        dropped[DropReason.ALL_AGREE] += len(rewards)
        return []
    centred = rewards - rewards.mean()
    scale = rewards.std() + STD_FLOOR if name == "normalised" else 1.0
    return [Example(episode, float(a)) for episode, a in zip(group, centred / scale, strict=True)]
