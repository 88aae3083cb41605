"""How a model begins its responses, what its decision prefixes cost, and which ones it would use.

Openings are found by sampling and weighted by scoring: under the run's own prompt, and under the
same prompt with a hint towards text or code, which shows openings that the own prompt hides.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import numpy as np

from acim_jax.explore import plan
from acim_jax.markup import Markup, prefix_rows
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.model import scoring, transformer
from acim_jax.model.config import ModelConfig
from acim_jax.records import (
    DECISIONS,
    Author,
    DecisionName,
    Episode,
    Problem,
    RolloutRequest,
    SamplingParams,
)
from acim_jax.rollout import converse
from acim_jax.rollout.progress import SILENT, Progress
from acim_jax.rollout.sampler import Sampler
from acim_jax.sharding import axes, place

PromptName = Literal["own", "text", "code"]
#: Prompts that openings are sampled under: the run's own, and those with a decision's hint.
PROMPTS: tuple[PromptName, ...] = ("own", *DECISIONS)
#: Words of a proposed text prefix at most.
WORDS = 6
#: A longer opening is preferred to a shorter one that it keeps this share of.
KEPT = 0.9
#: Share of the responses with an opening that may open a fence soon after it, for it to be text.
MAX_FENCES = 0.1
#: Probability that a proposed prefix has at least on half of the problems (a name in one question
#: opens no other's answer), the best of its decision excepted; and how many a decision gets.
LEAST, MOST = 0.005, 6
#: Texts scored in one row; problems in one batch.
_TEXTS, _PROBLEMS = 32, 8


@dataclasses.dataclass(frozen=True)
class Beginning:
    """The first tokens of one sampled response."""

    token_ids: np.ndarray
    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """A prefix and log π of its tokens behind each problem's prompt, [P, n] in nats."""

    text: str
    decision: DecisionName
    token_ids: np.ndarray
    logprobs: np.ndarray

    @property
    def probability(self) -> np.ndarray:
        """Of the whole prefix, [P]."""
        return np.exp(self.logprobs.sum(axis=1))


def sample(
    params: transformer.Params,
    problems: Sequence[Problem],
    sampler: Sampler,
    *,
    samples: int,
    tokens: int,
    seed: int,
    progress: Progress = SILENT,
) -> dict[str, list[Beginning]]:
    """The first `tokens` of `samples` native responses to each problem, under each prompt."""
    found: dict[str, list[Beginning]] = {}
    for number, prompt in enumerate(PROMPTS):
        asked = [hinted(problem, prompt, sampler.markup) for problem in problems]
        episodes, _ = converse.converse(
            params,
            [
                RolloutRequest(p, "native", i, max_tokens=tokens)
                for p in asked
                for i in range(samples)
            ],
            sampler,
            None,
            seed=seed,
            iteration=-1 - number,
            sampling=SamplingParams(1.0),
            progress=progress,
        )
        found[prompt] = [Beginning(_written(e), e.text) for e in episodes]
    return found


def hinted(problem: Problem, prompt: PromptName, markup: Markup) -> Problem:
    """The problem with the hint of a decision behind its question; as it is for "own"."""
    return problem if prompt == "own" else plan.hinted(problem, prompt, markup)


def _written(episode: Episode) -> np.ndarray:
    ids = [s.token_ids for s in episode.segments if s.author is Author.MODEL]
    return np.concatenate([np.zeros((0,), np.int32), *ids])


def candidates(
    beginnings: Mapping[str, Sequence[Beginning]], markup: Markup, tokenizer: Tokenizer
) -> dict[DecisionName, list[str]]:
    """Openings that could be decision prefixes, the most frequent first.

    Of code: what stands before the first fence, and the fence; the fence alone is always one. Of
    text: the first 1 to `WORDS` words, with and without the line breaks behind them (many
    tokenizers have tokens like ".\\n"), where hardly any response went on to a fence. Only openings
    whose own tokens are those that the model sampled: behind others it would not go on as it does.
    """
    code: collections.Counter[str] = collections.Counter()
    words: collections.Counter[str] = collections.Counter()
    fences: collections.Counter[str] = collections.Counter()
    for beginning in (one for some in beginnings.values() for one in some):
        opened = beginning.text.find(markup.code_open)
        if opened >= 0:
            code[beginning.text[: opened + len(markup.code_open)]] += 1
        before = beginning.text[:opened] if opened >= 0 else beginning.text
        found = [*re.finditer(r"(\S+)[\r\n]*", before)][:WORDS]
        for end in dict.fromkeys(end for match in found for end in (match.end(1), match.end())):
            opening = before[:end]
            ids = tokenizer.encode(opening)
            if np.array_equal(ids, beginning.token_ids[: len(ids)]):
                words[opening] += 1
                fences[opening] += opened >= 0
    text = [o for o, count in words.most_common() if fences[o] <= MAX_FENCES * count]
    return {"text": text, "code": [*dict.fromkeys([markup.code_open, *dict(code.most_common())])]}


def score(
    params: transformer.Params,
    problems: Sequence[Problem],
    texts: Mapping[DecisionName, Sequence[str]],
    markup: Markup,
    tokenizer: Tokenizer,
    config: ModelConfig,
    layout: axes.Layout | None = None,
) -> list[Scored]:
    """log π of each text behind every problem's own prompt; a prompt is computed once for many."""
    prompts = [tokenizer.prompt_ids(problem.question, markup) for problem in problems]
    width = prefix_rows.width(tokenizer, markup, problems)
    shards = 1 if layout is None else layout.shards("batch")
    rows = -(-_PROBLEMS // shards) * shards
    listed: list[tuple[DecisionName, str]] = [
        (decision, text) for decision, some in texts.items() for text in some
    ]
    found: list[Scored] = []
    for at in range(0, len(listed), _TEXTS):
        some = listed[at : at + _TEXTS]
        ids = [tokenizer.encode(text) for _, text in some]
        parts = []
        for start in range(0, len(prompts), rows):
            packed = prefix_rows.pack(
                prompts[start : start + rows], [ids], width=width, num_problems=rows
            )
            logprobs = _logprobs(params, place.batch(packed, layout), config=config, layout=layout)
            parts.append(np.asarray(logprobs)[: len(prompts) - start])
        by_column = np.concatenate(parts)
        ends = np.cumsum([len(one) for one in ids])
        for (decision, text), own, end in zip(some, ids, ends, strict=True):
            found.append(Scored(text, decision, own, by_column[:, end - len(own) : end]))
    return found


@functools.partial(jax.jit, static_argnames=("config", "layout"))
def _logprobs(
    params: transformer.Params,
    rows: prefix_rows.PrefixRows,
    *,
    config: ModelConfig,
    layout: axes.Layout | None,
) -> jax.Array:
    logprobs = scoring.prefix_token_logprobs(params, config, rows, layout=layout)
    return axes.constrain(logprobs, (), layout)


def propose(scored: Sequence[Scored]) -> list[Scored]:
    """A prefix-free list for each decision, of the most probable openings.

    Code comes first: its openings are rare and its best is kept whatever it costs. An opening gives
    way to a longer one that keeps `KEPT` of its probability and says more.
    """
    chosen: list[Scored] = []
    for decision in reversed(DECISIONS):
        own = [one for one in scored if one.decision == decision]
        own.sort(key=lambda one: -float(one.probability.mean()))
        taken: list[Scored] = []
        for one in own:
            is_rare = float(np.median(one.probability)) < LEAST and taken
            if is_rare or len(taken) == MOST or _overlaps(one, chosen + taken):
                continue
            taken.append(_longest(one, own, chosen + taken))
        chosen += taken
    return chosen


def _overlaps(one: Scored, others: Sequence[Scored]) -> bool:
    return any(o.text.startswith(one.text) or one.text.startswith(o.text) for o in others)


def _longest(one: Scored, own: Sequence[Scored], others: Sequence[Scored]) -> Scored:
    least = KEPT * float(one.probability.mean())
    longer = [
        o
        for o in own
        if o.text.startswith(one.text)
        and float(o.probability.mean()) >= least
        and not _overlaps(o, others)
    ]
    return max([one, *longer], key=lambda o: len(o.text))


def mass(scored: Sequence[Scored]) -> np.ndarray:
    """Probability of beginning with any of some prefix-free prefixes, [P]."""
    return np.sum([one.probability for one in scored], axis=0)


def policy_code(scored: Sequence[Scored]) -> np.ndarray:
    """π̂(code|x) by these prefixes, [P]."""
    return mass([one for one in scored if one.decision == "code"]) / mass(scored)
