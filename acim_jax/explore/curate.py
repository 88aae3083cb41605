"""From rollouts to training examples: which episodes are learned from, and with what advantage."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from acim_jax import rng
from acim_jax.explore import advantages, filters
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
    the R_c of guide c; native rollouts are all kept (plain RL), or `native_keep` drawn alike.
    Sampling by s* already weights the policy term, so examples are not weighted again; with
    keep = 0 every rollout is kept with weight s*_c·C·R/R_c instead (R of the config): its
    expectation under the draw of C·R. strategies: s* by problem id; a query without one (every
    rollout failed) keeps nothing.

    The baseline is the mean over the group that shares the sampled decision: after a *forced*
    prefix no sampled token carries the decision, so it is Q̂(x, c) of that guide (of both guides
    for `advantages.OVER_QUERY`); native rollouts sampled the decision themselves, so it is the mean
    of the query's native ones. Groups whose rollouts all agree have no gradient and are dropped.
    They, groups outside the band and refused rollouts that count in the baseline are drawn all the
    same, so they count in `CurationCounts.drawn_tokens`.
    """
    dropped: _Dropped = collections.Counter()
    kept: list[Example] = []
    drawn_tokens, overlong = 0.0, 0
    groups = group_by(episodes, lambda e: e.problem_id)
    for one in values:
        usable = _usable(groups.get(one.problem_id, []), fits, config, dropped)
        overlong += advantages.num_overlong(usable, config)
        native, *guided = ([e for e in usable if e.guide == guide] for guide in GUIDES)
        draw = rng.host(seed, iteration, "curate native", one.problem_id)
        candidates = _examples(native, config, advantage, dropped)
        kept += _drawn(candidates, native, config.native_keep or len(native), draw, config, dropped)
        strategy = strategies.get(one.problem_id)
        drawn_tokens += _native_tokens(native, config) + _expected_tokens(guided, strategy, config)
        if strategy is None:
            dropped[DropReason.NO_SIGNAL] += sum(len(group) for group in guided)
            continue
        draw = rng.host(seed, iteration, "curate", one.problem_id)
        by_guide = _candidates(guided, config, advantage, dropped)
        kept += _by_strategy(by_guide, guided, strategy, draw, config, dropped)
    counts = CurationCounts(
        len(episodes), len(kept), dict(dropped), len(values), drawn_tokens, overlong
    )
    return kept, counts


def _by_strategy(
    by_guide: Sequence[Sequence[Example]],
    guided: Sequence[Sequence[Episode]],
    strategy: np.ndarray,
    draw: np.random.Generator,
    config: ExploreConfig,
    dropped: _Dropped,
) -> list[Example]:
    """Of each guide's candidates those that s* draws from its rollouts, or all with its weight."""
    wanted: list[int] = draw.multinomial(config.keep, strategy).tolist()
    kept: list[Example] = []
    for c, (candidates, group) in enumerate(zip(by_guide, guided, strict=True)):
        if config.keep == 0:
            weight = float(strategy[c]) * config.guided_keep / max(len(group), 1)
            kept += _weighted(candidates, weight, dropped)
        else:
            kept += _drawn(candidates, group, wanted[c], draw, config, dropped)
    return kept


def _tokens(group: Sequence[Episode]) -> int:
    return sum(episode.num_model_tokens for episode in group)


def _native_tokens(native: Sequence[Episode], config: ExploreConfig) -> float:
    """Those of all native rollouts, or of the mean one for each that is kept."""
    share = min(config.native_keep or len(native), len(native)) / max(len(native), 1)
    return _tokens(native) * share


def _expected_tokens(
    guided: Sequence[Sequence[Episode]], strategy: np.ndarray | None, config: ExploreConfig
) -> float:
    """keep · Σ_c s*_c · (mean target tokens under guide c), whatever the rewards and the draw.

    Without s* the mean is over the query's guided rollouts. A guide without any adds nothing.
    """
    if strategy is None:
        everything = [episode for group in guided for episode in group]
        return config.guided_keep * _tokens(everything) / max(len(everything), 1)
    means = [_tokens(group) / max(len(group), 1) for group in guided]
    return config.guided_keep * float(np.dot(strategy, means))


def _drawn(
    candidates: Sequence[Example],
    group: Sequence[Episode],
    count: int,
    draw: np.random.Generator,
    config: ExploreConfig,
    dropped: _Dropped,
) -> list[Example]:
    """The candidates among `count` rollouts of their group, drawn without replacement."""
    order: list[int] = draw.permutation(len(group)).tolist()
    taken = filters.cleanest(order, count, group) if config.prefer_clean else order[:count]
    drawn = {id(group[i]) for i in taken}
    chosen = [example for example in candidates if id(example.episode) in drawn]
    dropped[DropReason.NOT_DRAWN] += len(candidates) - len(chosen)
    return chosen


def _weighted(candidates: Sequence[Example], weight: float, dropped: _Dropped) -> list[Example]:
    if weight == 0:
        dropped[DropReason.NOT_DRAWN] += len(candidates)
        return []
    return [dataclasses.replace(example, weight=weight) for example in candidates]


def _usable(
    group: Sequence[Episode],
    fits: Callable[[Episode], bool],
    config: ExploreConfig,
    dropped: _Dropped,
) -> list[Episode]:
    """Without episodes that our executor failed, that never began or broke their guide, or that no
    row can hold; and without those of the filters, unless they count in the baseline."""
    usable: list[Episode] = []
    for episode in group:
        refused = None if config.filtered_in_baseline else filters.refusal(episode, config)
        if episode.stop in (Stop.INFRA, Stop.PROMPT, Stop.BROKE_GUIDE):
            dropped[DropReason(episode.stop.value)] += 1
        elif not fits(episode):
            dropped[DropReason.TOO_LONG] += 1
        elif refused is not None:
            dropped[refused] += 1
        else:
            usable.append(episode)
    return usable


def _candidates(
    groups: Sequence[Sequence[Episode]],
    config: ExploreConfig,
    advantage: AdvantageName,
    dropped: _Dropped,
) -> list[list[Example]]:
    """The examples of each guide, compared within it or, for some advantages, over all guides."""
    if advantage in advantages.OVER_QUERY:
        groups = [[episode for group in groups for episode in group]]
    found = [one for group in groups for one in _examples(group, config, advantage, dropped)]
    return [[one for one in found if one.episode.guide == guide] for guide in DECISIONS]


def _examples(
    group: Sequence[Episode], config: ExploreConfig, advantage: AdvantageName, dropped: _Dropped
) -> list[Example]:
    """The episodes of a group with their advantages, but those of the filters; none if all agree or
    their mean lies outside the band."""
    rewards = advantages.rewards(group, config)
    if not advantages.have_signal(rewards, advantage):
        dropped[DropReason.ALL_AGREE] += len(rewards)
        return []
    if not filters.in_band(group, config):
        dropped[DropReason.OUT_OF_BAND] += len(rewards)
        return []
    kept: list[Example] = []
    for episode, a in zip(group, advantages.of_rewards(rewards, advantage), strict=True):
        refused = filters.refusal(episode, config)
        if refused is None and advantage == "reward" and a == 0:
            refused = DropReason.REJECTED
        if refused is None:
            kept.append(Example(episode, float(a)))
        else:
            dropped[refused] += 1
    return kept
