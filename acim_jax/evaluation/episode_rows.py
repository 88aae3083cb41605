"""Episodes as JSON rows: `episodes.jsonl` of evaluations and runs."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from acim_jax.records import Author, Episode, Problem


@runtime_checkable
class Decodes(Protocol):
    def decode(self, token_ids: np.ndarray) -> str: ...


def episode_row(episode: Episode, tokenizer: Decodes, *, file: str) -> dict[str, Any]:
    """One episode as it stands in episodes.jsonl; log-probs rounded to 6 places."""
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


def training_row(
    episode: Episode,
    tokenizer: Decodes,
    *,
    iteration: int,
    problem: Problem,
    advantage: float | None,
) -> dict[str, Any]:
    """A rollout of the E-step, with what became of it in the M-step."""
    return {
        **episode_row(episode, tokenizer, file="train"),
        "iteration": iteration,
        "question": problem.question,
        "gold": problem.answer,
        "stratum": problem.stratum,
        "advantage": advantage,
    }


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the tables need of an episode, whether it was just made or read back from a file."""

    problem_id: str
    sample: int
    guide: str
    is_code: bool
    reward: float
    answer: str | None
    executions: int
    executions_ok: int
    response_tokens: int

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Judged":
        return cls(
            problem_id=row["problem_id"],
            sample=row["sample"],
            guide=row["guide"],
            is_code=row["decision"] == "code",
            reward=row["reward"],
            answer=row["answer"],
            executions=len(row["executions"]),
            executions_ok=sum(e["status"] == "ok" for e in row["executions"]),
            response_tokens=sum(
                len(s["token_ids"]) for s in row["segments"] if s["author"] != Author.PROMPT.name
            ),
        )
