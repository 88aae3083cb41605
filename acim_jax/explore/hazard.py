"""π̂(code|x) = 1 − Π_t (1 − h_t): what a text could have turned into, line by line.

h_t is the probability of opening a code fence where line t of a response begins. It covers
decisions in the middle of a solution, which no prefix at its beginning shows.
"""

# The types of jax and optax are known in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Array, Int

from acim_jax.model import scoring, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.records import DECISIONS, Author, Episode, Problem, Stop, group_by
from acim_jax.sharding import axes, place

#: Responses scored at once.
BATCH_ROWS = 8
#: Columns for the fences of a response; lines behind those that fit are not looked at.
FENCE_COLUMNS = 256


class HazardRows(NamedTuple):
    """Responses, with a fence branching off wherever a line begins (`scoring.branch_logprobs`).

    fence_of is −1 in columns of padding. Numpy on the host, jax inside a compiled function.
    """

    stems: Int[Array, "B W"]
    fences: Int[Array, "B S"]
    fence_of: Int[Array, "B S"]
    starts: Int[Array, "B S"]


def hazard_policy(
    params: transformer.Params,
    problems: Sequence[Problem],
    episodes: Sequence[Episode],
    fence_ids: np.ndarray,
    ends_line: np.ndarray,
    config: ModelConfig,
    *,
    width: int,
    temperature: float = 1.0,
    chunk: int = 0,
    layout: axes.Layout | None = None,
) -> np.ndarray:
    """[P, C]: the mean over a problem's text responses (native ones and those under the text
    guide); 1/C each for a problem that has none.

    It is unbiased only over responses in which the fence was suppressed. Ours had the chance to
    open one and did not, so that it is too low for a policy that often does. fence_ids: the tokens
    of `markup.code_open`. ends_line: bool [vocabulary], of tokens that end a line. width: columns
    that hold every episode.
    """
    texts = [
        e
        for e in episodes
        if e.guide != "code"
        and (e.fences_opened == 0 or e.stop is Stop.BROKE_GUIDE)
        and e.stop not in (Stop.INFRA, Stop.PROMPT)
    ]
    shards = 1 if layout is None else layout.shards("batch")
    rows_a_call = -(-BATCH_ROWS // shards) * shards
    found: list[jax.Array] = []
    for at in range(0, len(texts), rows_a_call):
        rows = pack(texts[at : at + rows_a_call], fence_ids, ends_line, rows_a_call, width)
        found.append(
            _stays_text(
                params,
                place.batch(rows, layout),
                np.float32(temperature),
                config=config,
                chunk=chunk,
                layout=layout,
                fences=FENCE_COLUMNS // len(fence_ids),
            )
        )
    stays = np.concatenate([np.zeros((0,)), *jax.device_get(found)])[: len(texts)]
    return _means(problems, texts, stays)


def _means(problems: Sequence[Problem], texts: Sequence[Episode], stays: np.ndarray) -> np.ndarray:
    """[P, C] from the probability of each response to stay a text."""
    by_episode = {id(e): float(s) for e, s in zip(texts, stays, strict=True)}
    groups = group_by(texts, lambda e: e.problem_id)
    policy_PC = np.full((len(problems), len(DECISIONS)), 1.0 / len(DECISIONS))
    for i, problem in enumerate(problems):
        if group := groups.get(problem.id):
            text = float(np.mean([by_episode[id(e)] for e in group]))
            policy_PC[i] = (text, 1.0 - text)
    return policy_PC


def pack(
    episodes: Sequence[Episode],
    fence_ids: np.ndarray,
    ends_line: np.ndarray,
    num_rows: int,
    width: int,
) -> HazardRows:
    """Rows of at most `width` tokens, padded to `num_rows`."""
    shape, n = (num_rows, FENCE_COLUMNS), len(fence_ids)
    stems = np.zeros((num_rows, width), np.int32)
    fences, starts = np.zeros(shape, np.int32), np.ones(shape, np.int32)
    fence_of = np.full(shape, -1, np.int32)
    for row, episode in enumerate(episodes):
        ids = episode.token_ids
        stems[row, : len(ids)] = ids
        prompt = sum(len(s.token_ids) for s in episode.segments if s.author is Author.PROMPT)
        lines = prompt + np.flatnonzero(ends_line[ids[prompt:]]) + 1
        for k, start in enumerate([prompt, *lines.tolist()][: FENCE_COLUMNS // n]):
            columns = slice(k * n, (k + 1) * n)
            fences[row, columns], fence_of[row, columns] = fence_ids, k
            starts[row, columns] = start
    return HazardRows(*cast(Any, (stems, fences, fence_of, starts)))


@functools.partial(jax.jit, static_argnames=("config", "chunk", "layout", "fences"))
def _stays_text(
    params: transformer.Params,
    rows: HazardRows,
    temperature: jax.Array,
    *,
    config: ModelConfig,
    chunk: int,
    layout: axes.Layout | None,
    fences: int,
) -> jax.Array:
    """Π_t (1 − h_t) of every row, [B] float32."""
    logprobs_BS = scoring.branch_logprobs(
        params,
        config,
        rows.stems,
        rows.fences,
        rows.fence_of,
        rows.starts,
        temperature=temperature,
        chunk=chunk,
        layout=layout,
    )
    opens_BN = jax.numpy.exp(scoring.sum_by_branch(logprobs_BS, rows.fence_of, fences))
    is_there_BN = (rows.fence_of[..., None] == np.arange(fences)).any(axis=1)
    stays_B = jax.numpy.prod(jax.numpy.where(is_there_BN, 1.0 - opens_BN, 1.0), axis=1)
    return axes.constrain(stays_B, (), layout)
