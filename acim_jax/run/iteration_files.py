"""The files of an iteration in a run folder: its rollouts, and its estimates per problem."""

import math

from acim_jax import em
from acim_jax.evaluation import episode_records
from acim_jax.files import jsonl
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.run.folder import RunFolder


def write(result: em.Iteration, tokenizer: Tokenizer, folder: RunFolder, iteration: int) -> None:
    found = result.exploration
    by_id = {problem.id: problem for problem in found.problems}
    advantages = {id(e.episode): e.advantage for e in result.examples}
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
                "advantage": advantages.get(id(episode)),
            }
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
