"""What a run writes of an iteration: metrics of the E-step, its rollouts, and its estimates."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from acim_jax import em
from acim_jax.evaluation import episode_rows
from acim_jax.files import jsonl
from acim_jax.records import DropReason, Status, Stop
from acim_jax.run.folder import RunFolder
from acim_jax.run.runtime import Runtime


def explore_metrics(result: em.Iteration) -> dict[str, float | None]:
    """Numbers of the E-step and of curation. A mean over nothing is None."""
    found, counts = result.exploration, result.curation
    episodes, values = found.episodes, found.values
    mean = lambda xs: float(np.mean(xs)) if len(xs) else None  # noqa: E731
    guided = [v for v in values if v.counts.all()]
    rewards_by_group = [[e.reward for e in group] for group in _groups(result)]
    executions = [x for e in episodes for x in e.executions]
    row: dict[str, float | None] = {
        "explore/reward": mean([e.reward for e in episodes]),
        "explore/code_rate": mean([e.decision == "code" for e in episodes]),
        "explore/usable_groups": mean([len(set(rewards)) > 1 for rewards in rewards_by_group]),
        "explore/value_text": mean([v.value[0] for v in guided]),
        "explore/value_code": mean([v.value[1] for v in guided]),
        "explore/value_stderr": mean([s for v in guided for s in v.stderr]),
        "explore/policy_code": mean([v.policy[1] for v in values]),
        "explore/policy_mass": mean([v.mass for v in values]),
        "explore/strategy_code": mean([s[1] for s in found.strategies.values()]),
        "explore/dead_queries": float(len(guided) - len(found.strategies)),
        "explore/response_tokens": mean([e.num_response_tokens for e in episodes]),
        "explore/fences_opened": mean([e.fences_opened for e in episodes]),
        "explore/sampled_tokens": float(found.stats.sampled_tokens),
        "explore/prefill_tokens": float(found.stats.prefill_tokens),
        "explore/near_ties": float(found.stats.near_ties),
    }
    row["explore/grader_timeouts"] = float(sum(e.graded == "timeout" for e in episodes))
    for status in Status:
        row[f"explore/executions/{status}"] = float(sum(x.status is status for x in executions))
    for stop in Stop:
        row[f"explore/stop/{stop}"] = float(sum(e.stop is stop for e in episodes))
    row["curate/kept"] = float(counts.kept)
    for reason in DropReason:
        row[f"curate/dropped/{reason}"] = float(counts.dropped.get(reason, 0))
    return row


def _groups(result: em.Iteration) -> Iterator[Sequence[Any]]:
    """Rollouts that share a baseline: those of one problem under one guide."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for episode in result.exploration.episodes:
        groups.setdefault((episode.problem_id, episode.guide), []).append(episode)
    return iter(groups.values())


def write(result: em.Iteration, runtime: Runtime, folder: RunFolder, iteration: int) -> None:
    found = result.exploration
    by_id = {problem.id: problem for problem in found.problems}
    advantages = {id(e.episode): e.advantage for e in result.examples}
    jsonl.write(
        folder.episodes(iteration),
        [
            episode_rows.training_row(
                episode,
                runtime.model.tokenizer,
                iteration=iteration,
                problem=by_id[episode.problem_id],
                advantage=advantages.get(id(episode)),
            )
            for episode in found.episodes
        ],
    )
    plain = lambda xs: [None if math.isnan(x) else float(x) for x in xs]  # noqa: E731
    jsonl.write(
        folder.values(iteration),
        [
            {
                "problem_id": value.problem_id,
                "stratum": by_id[value.problem_id].stratum,
                "counts": [int(n) for n in value.counts],
                "value": plain(value.value),
                "stderr": plain(value.stderr),
                "policy": plain(value.policy),
                "mass": value.mass,
                "strategy": (
                    plain(found.strategies[value.problem_id])
                    if value.problem_id in found.strategies
                    else None
                ),
            }
            for value in found.values
        ],
    )
