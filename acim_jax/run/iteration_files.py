"""The files of an iteration in a run folder: its rollouts, and its estimates per problem."""

import math

import numpy as np

from acim_jax.em import loop
from acim_jax.evaluation import episode_records
from acim_jax.files import jsonl
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.records import Episode
from acim_jax.run.folder import RunFolder


def write(result: loop.Iteration, tokenizer: Tokenizer, folder: RunFolder, iteration: int) -> None:
    found = result.exploration
    by_id = {problem.id: problem for problem in found.problems}
    # Behind the kept rollouts stand answers that were made of two.
    kept = result.examples[: result.curation.kept]
    advantages = {_identity(one.episode): one.advantage for one in kept}
    jsonl.write(
        folder.episodes(iteration),
        [
            {
                **episode_records.episode_record(episode, tokenizer, file="train"),
                "iteration": iteration,
                "question": by_id[episode.problem_id].question,
                "gold": by_id[episode.problem_id].answer,
                "stratum": by_id[episode.problem_id].stratum,
                # None where the M-step did not use it.
                "advantage": advantages.get(_identity(episode)),
            }
            for episode in found.episodes
        ],
    )
    jsonl.write(
        folder.values(iteration),
        [
            {
                "problem_id": value.problem_id,
                "stratum": by_id[value.problem_id].stratum,
                "counts": [int(n) for n in value.counts],
                "value": _plain(value.value),
                "stderr": _plain(value.stderr),
                "calls": _plain(value.calls),
                "policy": _plain(value.policy),
                "mass": value.mass,
                "strategy": _plain(found.strategies.get(value.problem_id)),
            }
            for value in found.values
        ],
    )


def _identity(episode: Episode) -> tuple[str, str, int]:
    return episode.problem_id, episode.guide, episode.index


def _plain(values: np.ndarray | None) -> list[float | None] | None:
    """NaN, which JSON lacks, becomes None."""
    return None if values is None else [None if math.isnan(x) else float(x) for x in values]
