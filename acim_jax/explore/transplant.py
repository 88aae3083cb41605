"""Rollouts set into another context than they were sampled in, and answers made of two of them.

Their tokens are what the model wrote, but not *there*: the log-probs of the sampler are gone, and
such an episode is marked (`Episode.transplanted`). The M-step computes them anew with the policy as
it is before the first update, so that every ratio begins at 1.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from acim_jax import rng
from acim_jax.records import (
    DECISIONS,
    Author,
    Episode,
    Example,
    Segment,
    Stop,
    group_by,
)


def into_prompt(episode: Episode, prompt_ids: np.ndarray) -> Episode:
    """The episode as an answer to another prompt, such as its problem's without a hint."""
    first, *others = episode.segments
    assert first.author is Author.PROMPT  # as of every rollout
    moved = (Segment(Author.PROMPT, prompt_ids), *map(_without_logprobs, others))
    return dataclasses.replace(episode, segments=moved, transplanted=True)


class Glue(NamedTuple):
    """What joins two attempts: `markup.reflection` as text and as tokens; the ids that end a
    response; and the most programs of one."""

    text: str
    token_ids: np.ndarray
    end_ids: np.ndarray
    max_calls: int


def reflections(
    episodes: Sequence[Episode], glue: Glue, count: int, *, seed: int, iteration: int
) -> list[Example]:
    """At most `count` answers of each problem in which an attempt by one decision fails, is given
    up, and one by the other decision succeeds (reflective synthesis, the first version of
    arXiv:2502.00691).

    The words between and what follows are targets, the failed attempt is not [ours: a switch that
    is never a target is never learned]. Each has advantage 1: there is no group that it could be
    compared with. Only guided rollouts of one context that ended by themselves are joined, in pairs
    drawn by identity, no rollout twice on one side; joined they run at most `max_calls` programs.
    """
    made: list[Example] = []
    for name, group in group_by(episodes, lambda e: e.problem_id).items():
        ended = [e for e in group if e.stop is Stop.EOS and e.guide in DECISIONS]
        failed = [e for e in ended if e.reward == 0 and _ends(e, glue.end_ids)]
        solved = [e for e in ended if e.reward >= 1]
        draw = rng.host(seed, iteration, "reflect", name)
        failed, solved = _shuffled(failed, draw), _shuffled(solved, draw)
        of_problem: list[Example] = []
        for before in failed:
            if len(of_problem) == count:
                break
            fitting = (e for e in solved if _join(before, e, glue.max_calls))
            after = next(fitting, None)
            if after is not None:
                solved = [e for e in solved if e is not after]
                of_problem.append(Example(reflection(before, after, glue), 1.0))
        made += of_problem
    return made


def reflection(failed: Episode, solved: Episode, glue: Glue) -> Episode:
    """One answer: the failed attempt without its end, the glue, the solved one without its prompt.

    The failed attempt is context, so all of it is FORCED.
    """
    prompt, *attempt = failed.segments
    *attempt, last = attempt
    attempt = [*attempt, Segment(last.author, last.token_ids[:-1])]
    return dataclasses.replace(
        solved,
        segments=(
            prompt,
            *(Segment(Author.FORCED, s.token_ids) for s in attempt if len(s.token_ids)),
            Segment(Author.MODEL, glue.token_ids),
            # The prefix of the second decision is learned here, as what the switch leads to.
            *(
                Segment(Author.MODEL if s.author is Author.FORCED else s.author, s.token_ids)
                for s in solved.segments[1:]
            ),
        ),
        executions=failed.executions + solved.executions,
        fences_opened=failed.fences_opened + solved.fences_opened,
        text=f"{failed.text}{glue.text}{solved.text}",
        transplanted=True,
    )


def _shuffled(episodes: Sequence[Episode], draw: np.random.Generator) -> list[Episode]:
    order: list[int] = draw.permutation(len(episodes)).tolist()
    return [episodes[i] for i in order]


def _join(failed: Episode, solved: Episode, max_calls: int) -> bool:
    calls = len(failed.executions) + len(solved.executions)
    same = np.array_equal(failed.segments[0].token_ids, solved.segments[0].token_ids)
    return failed.guide != solved.guide and same and calls <= max_calls


def _ends(episode: Episode, end_ids: np.ndarray) -> bool:
    """Whether its last token is one that ends a response and can be left out."""
    last = episode.segments[-1]
    return last.author is Author.MODEL and bool(np.isin(last.token_ids[-1], end_ids))


def _without_logprobs(segment: Segment) -> Segment:
    return Segment(segment.author, segment.token_ids)
