"""Episodes as JSON records: `episodes.jsonl` of evaluations and runs. No jax here."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from acim_jax.records import Author, DecisionName, Episode, Problem


@runtime_checkable
class Decodes(Protocol):
    def decode(self, token_ids: np.ndarray) -> str: ...


def episode_record(episode: Episode, tokenizer: Decodes, *, file: str) -> dict[str, Any]:
    """One episode as it stands in episodes.jsonl; log-probs are rounded to 6 places."""
    return {
        "file": file,
        "problem_id": episode.problem_id,
        "sample": episode.index,
        "guide": episode.guide,
        "decision": episode.decision,
        "reward": episode.reward,
        "answer": episode.answer,
        "graded": episode.graded,
        "stop": episode.stop.value,
        "segments": [
            {
                "author": Author(segment.author).name,
                "text": tokenizer.decode(segment.token_ids),
                "token_ids": segment.token_ids.tolist(),
                "logprobs": None
                if segment.logprobs is None
                else [round(float(x), 6) for x in segment.logprobs],
            }
            for segment in episode.segments
        ],
        "executions": [
            {**dataclasses.asdict(execution), "status": execution.status.value}
            for execution in episode.executions
        ],
    }


def training_record(
    episode: Episode,
    tokenizer: Decodes,
    *,
    iteration: int,
    problem: Problem,
    advantage: float | None,
) -> dict[str, Any]:
    """A rollout of the E-step; `advantage` is None where the M-step did not use it."""
    return {
        **episode_record(episode, tokenizer, file="train"),
        "iteration": iteration,
        "question": problem.question,
        "gold": problem.answer,
        "stratum": problem.stratum,
        "advantage": advantage,
    }


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the tables need of an episode's record."""

    problem_id: str
    sample: int
    guide: str
    decision: DecisionName
    reward: float
    answer: str | None
    stop: str
    executions: int
    executions_ok: int
    response_tokens: int

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Judged":
        same = ("problem_id", "sample", "guide", "decision", "reward", "answer", "stop")
        return cls(
            **{name: record[name] for name in same},
            executions=len(record["executions"]),
            executions_ok=sum(e["status"] == "ok" for e in record["executions"]),
            response_tokens=sum(
                len(segment["token_ids"])
                for segment in record["segments"]
                if segment["author"] != Author.PROMPT.name
            ),
        )

    @property
    def is_code(self) -> bool:
        return self.decision == "code"
