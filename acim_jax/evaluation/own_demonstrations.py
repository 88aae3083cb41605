"""Demonstrations out of a model's own rollouts: which are kept, and as what.

Rollouts are made under a hint that elicits a decision, behind the decision's prefix, as guided
rollouts of a run begin; they are kept without the hint, in the run's own prompt. Their log-probs
belong to another context and are not kept.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from acim_jax import rng
from acim_jax.evaluation.pipeline import Task
from acim_jax.evaluation.rollouts import ITERATION
from acim_jax.explore import plan
from acim_jax.markup import Markup, responses
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.records import (
    DECISIONS,
    Author,
    DecisionName,
    Demonstration,
    Guide,
    Problem,
    RolloutRequest,
    SamplingParams,
    Segment,
    Status,
    Stop,
    group_by,
)

#: Why a rollout is no demonstration, in the order in which it is asked. `other_decision`: asked for
#: text, it opened a program, or asked for code, none ran before the answer. `failed`: its last
#: program did. `rewritten`: read back, the text has other tokens or authors than were sampled, as
#: where the model made up an output. `unbalanced`: the other decision has fewer. `outdone`: the
#: other one solves its problem more often.
REASONS = (
    "unfinished",
    "other_decision",
    "wrong",
    "failed",
    "rewritten",
    "repeated",
    "unbalanced",
    "outdone",
)

#: How many of what is right is kept: as many of either decision, or a problem's better one.
Choice = Literal["balanced", "aptitude"]


def task(
    data: Mapping[str, Sequence[Problem]],
    markup: Markup,
    *,
    samples: int,
    sampling: SamplingParams,
    seed: int,
) -> Task:
    """`samples` guided rollouts of each problem and decision. A decision's hinted problems of a
    source are named `DECISION SOURCE`."""

    def requests(
        problems: Sequence[Problem], guides: Sequence[Guide], markup: Markup, samples: int
    ) -> list[RolloutRequest]:
        return [
            plan.guided(problem, decision, index, markup, seed=seed, iteration=ITERATION)
            for decision in DECISIONS
            if decision in guides
            for problem in problems
            for index in range(samples)
        ]

    guides: dict[str, list[Guide]] = {
        f"{decision} {source}": [decision] for decision in DECISIONS for source in data
    }
    named: list[tuple[str, DecisionName, Sequence[Problem]]] = [
        (f"{d} {source}", d, problems) for d in DECISIONS for source, problems in data.items()
    ]
    return Task(
        problems={name: [plan.hinted(p, d, markup) for p in ps] for name, d, ps in named},
        guides=guides,
        samples=samples,
        sampling=sampling,
        seed=seed,
        requests=requests,
    )


@dataclasses.dataclass(frozen=True)
class Harvest:
    """demonstrations: in the order of the rollouts. counts: of each decision, its `rollouts`, those
    `kept`, and those that each of REASONS left out."""

    demonstrations: list[Demonstration]
    counts: dict[DecisionName, dict[str, int]]


def harvest(
    episodes: Iterable[Mapping[str, Any]],
    data: Mapping[str, Sequence[Problem]],
    tokenizer: Tokenizer,
    markup: Markup,
    *,
    seed: int,
    choice: Choice = "balanced",
) -> Harvest:
    """The demonstrations in the records of `task`'s episodes; data: its problems without hints."""
    questions = {(file, p.id): p.question for file, problems in data.items() for p in problems}
    counts: dict[DecisionName, collections.Counter[str]] = {
        d: collections.Counter() for d in DECISIONS
    }
    found: dict[tuple[str, str, str], Demonstration] = {}
    right: collections.Counter[tuple[str, str]] = collections.Counter()
    for record in episodes:
        decision: DecisionName = record["guide"]
        source = record["file"].removeprefix(f"{decision} ")
        place = f"{source}:{record['problem_id']}"
        response, segments = _response(record, tokenizer, markup)
        reason = _reason(record, decision)
        right[place, decision] += not reason
        reason = reason or (
            "" if _reads_back(response, decision, segments, tokenizer, markup) else "rewritten"
        )
        key = (place, decision, " ".join(response.split()))
        reason = reason or ("repeated" if key in found else "")
        counts[decision].update(["rollouts", reason] if reason else ["rollouts"])
        if not reason:
            question = questions[source, record["problem_id"]]
            name = f"{place}:{decision}:{record['sample']}"
            found[key] = Demonstration(name, question, response, decision)
    if choice == "aptitude":
        kept, left = _apt(found, right), "outdone"
    else:
        by_problem = group_by(found.items(), lambda item: item[0][0]).values()
        kept = balanced([[one for _, one in group] for group in by_problem], seed=seed)
        left = "unbalanced"
    for one in found.values():
        counts[one.decision]["kept" if one.id in kept else left] += 1
    return Harvest(
        [one for one in found.values() if one.id in kept],
        {d: {name: counts[d][name] for name in ("rollouts", "kept", *REASONS)} for d in DECISIONS},
    )


def _apt(
    found: Mapping[tuple[str, str, str], Demonstration],
    right: Mapping[tuple[str, str], int],
) -> set[str]:
    """The ids of those whose decision solved their problem most often; text where both did as often
    (the choice of arXiv:2502.12022, there by the accuracy that a demonstration brings to others).
    """
    best = {
        place: max(DECISIONS, key=lambda d, place=place: right.get((place, d), 0))
        for place, _, _ in found
    }
    return {one.id for (place, decision, _), one in found.items() if best[place] == decision}


def balanced(problems: Sequence[Sequence[Demonstration]], *, seed: int) -> set[str]:
    """The ids of as many demonstrations of one decision as of the other.

    A problem with both gives as many of each as the rarer one has; the others give as many of each
    in total, first one of every problem, then a second one. Which ones is drawn by seed.
    """
    kept: set[str] = set()
    alone: dict[DecisionName, list[tuple[int, float, str]]] = {d: [] for d in DECISIONS}
    for problem in problems:
        drawn: dict[DecisionName, list[tuple[float, str]]] = {
            d: sorted((_draw(seed, one.id), one.id) for one in problem if one.decision == d)
            for d in DECISIONS
        }
        least = min(map(len, drawn.values()))
        for decision, some in drawn.items():
            kept.update(name for _, name in some[:least])
            if not least:
                alone[decision] += [(rank, draw, name) for rank, (draw, name) in enumerate(some)]
    least = min(map(len, alone.values()))
    for some in alone.values():
        kept.update(name for _, _, name in sorted(some)[:least])
    return kept


def _draw(seed: int, name: str) -> float:
    return float(rng.host(seed, ITERATION, "demonstrate", name).random())


def _reason(record: Mapping[str, Any], decision: DecisionName) -> str:
    """The first of REASONS that the record alone gives, or ""."""
    statuses = [execution["status"] for execution in record["executions"]]
    stop = Stop(record["stop"])
    if stop not in (Stop.EOS, Stop.BROKE_GUIDE):
        return "unfinished"
    if record["decision"] != decision or stop is Stop.BROKE_GUIDE:
        return "other_decision"
    if record["reward"] < 1.0:
        return "wrong"
    return "failed" if decision == "code" and statuses[-1] != Status.OK.value else ""


def _response(
    record: Mapping[str, Any], tokenizer: Tokenizer, markup: Markup
) -> tuple[str, list[Segment]]:
    """Text and tokens behind the prompt, without the end token. Line ends are `\\n`, as
    demonstrations are read."""
    segments = [
        Segment(Author[one["author"]], np.array(one["token_ids"], np.int32))
        for one in record["segments"]
        if one["author"] != Author.PROMPT.name
    ]
    last = segments[-1] if segments else None
    if last is not None and last.token_ids[-1] in tokenizer.stop_ids(markup):
        segments[-1] = Segment(last.author, last.token_ids[:-1])
    segments = [segment for segment in segments if len(segment.token_ids)]
    ids = [np.zeros((0,), np.int32), *(segment.token_ids for segment in segments)]
    return tokenizer.decode(np.concatenate(ids)).replace("\r\n", "\n"), segments


def _reads_back(
    response: str,
    decision: DecisionName,
    segments: Sequence[Segment],
    tokenizer: Tokenizer,
    markup: Markup,
) -> bool:
    """Whether the text, as training reads it, has the tokens and authors that were sampled."""
    read = responses.encode(response, decision, tokenizer, markup)
    return len(read) == len(segments) and all(
        one.author is other.author and np.array_equal(one.token_ids, other.token_ids)
        for one, other in zip(read, segments, strict=True)
    )
