"""Episodes as JSON records: `episodes.jsonl` of evaluations and runs. No jax here."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from acim_jax.files import jsonl
from acim_jax.records import DECISIONS, Author, DecisionName, Episode, Problem


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


@dataclasses.dataclass(frozen=True)
class Call:
    """A program that ran, as `calls` judges it; None: nothing to judge by, or not judged."""

    ok: bool
    before_answer: bool | None = None
    right: bool | None = None


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the tables need of an episode's record. first_program: as in `calls.first_program`."""

    problem_id: str
    sample: int
    guide: str
    decision: DecisionName
    reward: float
    answer: str | None
    stop: str
    calls: tuple[Call, ...]
    response_tokens: int
    first_program: float | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Judged":
        same = ("problem_id", "sample", "guide", "decision", "reward", "answer", "stop")
        return cls(
            **{name: record[name] for name in same},
            calls=tuple(
                Call(one["status"] == "ok", one.get("before_answer"), one.get("right"))
                for one in record["executions"]
            ),
            response_tokens=sum(
                len(segment["token_ids"])
                for segment in record["segments"]
                if segment["author"] != Author.PROMPT.name
            ),
            first_program=record.get("first_program"),
        )

    @property
    def is_right(self) -> bool:
        """A partial reward is not right."""
        return self.reward >= 1.0

    @property
    def is_code(self) -> bool:
        return self.decision == "code"


#: Judged episodes by guide, and those by the name of their problems.
ByGuide = Mapping[str, Sequence[Judged]]
Judgements = Mapping[str, ByGuide]


def forced_runs(path: Path, data: Mapping[str, Sequence[Problem]]) -> Judgements:
    """The forced runs in the folder `path`, for the files in `data`: they judge its decisions.

    A file is found by its name as it was given there, else by its last part. FileNotFoundError
    without episodes.jsonl; ValueError where a problem's text or code run is missing.
    """
    judged = _judged(path / "episodes.jsonl")
    found: dict[str, ByGuide] = {}
    for file, problems in data.items():
        same = [name for name in judged if name == file] or [
            name for name in judged if Path(name).name == Path(file).name
        ]
        if len(same) != 1:
            raise ValueError(
                f"--oracle {path}: needed the runs of {file!r} once, it has {sorted(judged)}."
            )
        found[file] = judged[same[0]]
        for decision in DECISIONS:
            have = {one.problem_id for one in found[file].get(decision, ())}
            lacking = [problem.id for problem in problems if problem.id not in have]
            if lacking:
                raise ValueError(
                    f"--oracle {path}: {file!r} lacks {decision} runs of {len(lacking)} problems, "
                    f"e.g. {lacking[0]!r}; make them with --decision text code."
                )
    return found


def _judged(episodes: Path) -> dict[str, dict[str, list[Judged]]]:
    judged: dict[str, dict[str, list[Judged]]] = {}
    for number, record in jsonl.read(episodes):
        try:
            one = Judged.of_record(record)
            judged.setdefault(str(record["file"]), {}).setdefault(one.guide, []).append(one)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{episodes}:{number}: not an episode, {error!r}.") from error
    return judged
