"""The records that carry all data between layers. Numpy and the standard library only, never jax.

Invariants (DESIGN: docs/design.md):
1. the segments of an episode, concatenated, are exactly the token ids the model conditioned on;
2. `Segment.logprobs` exists iff MODEL wrote the tokens in that very context, and is log μ of the
   *actual* sampling distribution (temperature and truncation included); MODEL tokens without them
   are those of a transplanted episode;
3. a stop token is a MODEL token; fences and output written by us are OUTPUT, guide prefixes FORCED;
4. `Episode.guide` is what was asked for, the decision is *detected* (`Episode.decision`);
5. a failure of the model's program is data (`ExecutionResult`), a failure of ours an exception.
"""

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T")
Guide = Literal["native", "text", "code"]
DecisionName = Literal["text", "code"]
Kind = Literal["math", "code"]
#: The rules are in `explore/advantages.py`.
AdvantageName = Literal["normalised", "centred", "rloo", "whitened", "exact_em", "maxrl", "reward"]

#: Column order of every array with a decision axis `C`.
DECISIONS: tuple[DecisionName, DecisionName] = ("text", "code")
GUIDES: tuple[Guide, Guide, Guide] = ("native", "text", "code")


class Author(enum.IntEnum):
    """Who wrote a token. Loss masks are derived from this, once, in `improve/packing.py`."""

    PROMPT = 0
    MODEL = 1
    FORCED = 2
    OUTPUT = 3


class Status(enum.StrEnum):
    """How a program ended. `INFRA` is our failure and never the program's."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    KILLED = "killed"
    BLOCKED = "blocked"
    INFRA = "infra"


class Stop(enum.StrEnum):
    """Why an episode ended."""

    EOS = "eos"  # the model sampled its end token
    LENGTH = "length"  # no room for another token
    TURNS = "turns"  # it wrote one program more than `max_turns` allows
    PROMPT = "prompt"  # the prompt does not fit: nothing was sampled
    BROKE_GUIDE = "broke_guide"  # asked for text, it opened a program: no rollout of either guide
    INFRA = "infra"  # the executor failed on our side: dropped from training, and counted


class DropReason(enum.StrEnum):
    """Why curation did not keep a rollout for training."""

    ALL_AGREE = "all_agree"  # every rollout of its group has the same reward
    NOT_DRAWN = "not_drawn"  # the draw by strategy chose others
    OTHER_CONTEXT = "other_context"  # it was transplanted, and explore.hinted_logprobs is `drop`
    NO_SIGNAL = "no_signal"  # its problem has no strategy
    TOO_LONG = "too_long"  # no batch row holds it
    PROMPT = "prompt"  # `Stop.PROMPT`
    BROKE_GUIDE = "broke_guide"  # `Stop.BROKE_GUIDE`
    INFRA = "infra"  # `Stop.INFRA`
    TRUNCATED = "truncated"  # `Stop.LENGTH`, and explore.drop_truncated
    VOID = "void"  # it ended with neither a program nor an answer, and explore.drop_void
    CALLS_FAILED = "calls_failed"  # none of its programs succeeded, and explore.drop_calls_failed
    REJECTED = "rejected"  # its reward is 0, and improve.advantage is `reward`
    REPLACED = "replaced"  # all rollouts of its problem agree, and explore.refill_rounds
    OUT_OF_BAND = "out_of_band"  # the mean of its group lies outside explore.accuracy_band


@dataclasses.dataclass(frozen=True)
class InputOutput:
    """A test of a whole program: what it reads from standard input, and what it must print."""

    stdin: str
    stdout: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """One task. `tests`, `test_setup` and `entry_point` belong to code problems.

    A test is Python code that calls the program's functions (assert lines, or a definition of
    `check(candidate)`, which is called with `entry_point`), or a program's input and its output.
    `test_setup` runs before every test.
    """

    id: str
    question: str
    answer: str
    kind: Kind = "math"
    source: str = ""
    subject: str = ""
    level: str = ""
    tests: tuple[str | InputOutput, ...] = ()
    test_setup: str = ""
    entry_point: str = ""
    extra: Mapping[str, object] = dataclasses.field(default_factory=dict[str, object])

    @property
    def stratum(self) -> str:
        """The unit of tables by stratum, `subject/level`; the source where there is no subject."""
        return f"{self.subject or self.source or 'all'}/{self.level or '-'}"


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """A worked response for warm-up SFT, fences and interpreter outputs included."""

    id: str
    question: str
    response: str
    decision: DecisionName


@dataclasses.dataclass(frozen=True)
class RolloutRequest:
    """A rollout to make: rollout number `index` of a problem under a guide.

    prefix: the FORCED text of the guide, empty for native rollouts. max_tokens: after
    the prompt, our own tokens included; None: as many as a row holds. ends_at_fence: it ends where
    it opens a program (`Stop.BROKE_GUIDE`).
    """

    problem: Problem
    guide: Guide
    index: int
    prefix: str = ""
    max_tokens: int | None = None
    ends_at_fence: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """A run of tokens with one author. `logprobs` [n] float32 for MODEL, else None.

    full_logprobs: of the distribution before top-k, top-p and min-p; None where none was applied.
    """

    author: Author
    token_ids: np.ndarray  # [n] int32
    logprobs: np.ndarray | None = None
    full_logprobs: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.logprobs is not None and self.author is not Author.MODEL:
            raise ValueError(f"A {self.author.name} segment cannot carry behaviour log-probs.")
        if self.logprobs is not None and self.logprobs.shape != self.token_ids.shape:
            raise ValueError(
                f"Segment has {self.token_ids.shape} tokens but {self.logprobs.shape} log-probs."
            )


@dataclasses.dataclass(frozen=True)
class ExecutionResult:
    """The outcome of one program. `stdout` and `stderr` are cut to the executor's limit."""

    code: str
    stdout: str
    stderr: str
    status: Status
    wall_s: float
    truncated: bool = False


@dataclasses.dataclass(frozen=True)
class SamplingParams:
    """The distribution that MODEL tokens were drawn from.

    Temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 do not truncate.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    @property
    def is_truncated(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


@dataclasses.dataclass(frozen=True, eq=False)
class Episode:
    """A finished conversation between model and interpreter about one problem."""

    problem_id: str
    guide: Guide
    index: int
    segments: tuple[Segment, ...]
    executions: tuple[ExecutionResult, ...]
    stop: Stop
    sampling: SamplingParams
    fences_opened: int = 0
    text: str = ""  # the response (everything after the prompt), decoded once, for people
    answer: str | None = None
    reward: float = 0.0
    graded: str = ""  # what decided the reward: a method of `acim grade`, `tests`, or `own`
    answered_first: bool = False  # the final answer stood there before a program was begun
    transplanted: bool = False  # not in the context it was sampled in: it has no log-probs
    reference_kl: float = 0.0  # Σ log μ − log π_ref of its MODEL tokens, where the reward has it

    @property
    def calls(self) -> int:
        """Programs that were run, one that the executor's filter stopped included; one that our own
        executor lost was not run."""
        return sum(e.status is not Status.INFRA for e in self.executions)

    @property
    def failed_calls(self) -> int:
        """Those of `calls` that did not succeed."""
        return sum(e.status not in (Status.OK, Status.INFRA) for e in self.executions)

    @property
    def decision(self) -> DecisionName:
        """`code` iff a program was executed (`calls`) before the final answer."""
        return "code" if self.calls and not self.answered_first else "text"

    @property
    def token_ids(self) -> np.ndarray:
        return np.concatenate([s.token_ids for s in self.segments])

    @property
    def num_tokens(self) -> int:
        return sum(len(s.token_ids) for s in self.segments)

    @property
    def num_response_tokens(self) -> int:
        return sum(len(s.token_ids) for s in self.segments if s.author is not Author.PROMPT)

    @property
    def num_model_tokens(self) -> int:
        return sum(len(s.token_ids) for s in self.segments if s.author is Author.MODEL)


@dataclasses.dataclass(frozen=True, eq=False)
class DecisionValues:
    """Q̂(x, c) and π̂(c|x) of one problem; arrays over `DECISIONS`.

    counts: rollouts under each guide. value: mean reward (nan where counts is 0).
    stderr: binomial standard error of `value`. policy: π̂(c|x), sums to 1.
    mass: Σ_c exp ℓ_c, the total probability of the decision prefixes. calls: mean programs run
    under each guide (nan where counts is 0).
    """

    problem_id: str
    counts: np.ndarray
    value: np.ndarray
    stderr: np.ndarray
    policy: np.ndarray
    mass: float
    calls: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """An episode chosen for training. `advantage` holds for each of its MODEL tokens."""

    episode: Episode
    advantage: float
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class CurationCounts:
    """What curation did with the rollouts and queries of one exploration.

    drawn_tokens: target tokens that its draw takes in expectation, of rollouts with an advantage
    and of those without: what the policy term of the iteration is divided by. overlong: rollouts
    whose reward was lowered for their length, kept or not. reflections: answers that were made of
    two rollouts each, beside what was kept of these.
    """

    rollouts: int
    kept: int
    dropped: Mapping[DropReason, int]
    queries: int
    drawn_tokens: float
    overlong: int = 0
    reflections: int = 0

    def with_reflections(self, made: Sequence[Example]) -> "CurationCounts":
        """With answers that were made of two rollouts, which the draw takes all."""
        tokens = sum(one.episode.num_model_tokens for one in made)
        return dataclasses.replace(
            self, reflections=len(made), drawn_tokens=self.drawn_tokens + tokens
        )

    def with_replaced(self, rollouts: int) -> "CurationCounts":
        """With the rollouts of problems that dynamic sampling replaced."""
        dropped = {**self.dropped, DropReason.REPLACED: rollouts}
        return dataclasses.replace(self, rollouts=self.rollouts + rollouts, dropped=dropped)


def group_by(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    """Items by their keys, in order of first appearance."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
