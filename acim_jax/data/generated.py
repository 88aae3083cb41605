"""Generated problems: deterministic by seed, with train, validation and test disjoint by
construction.

The split of a problem is a hash of its canonical numbers, so no seed, count or wording can move it:
problems are drawn until one belongs to the requested split.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from typing import Literal, TypeVar

from acim_jax.data import families
from acim_jax.data.families import Case, Family, Question
from acim_jax.data.families.case import FIRST_SHARE
from acim_jax.markup import Markup, outputs
from acim_jax.records import DECISIONS, DecisionName, Demonstration, Problem, Status

T = TypeVar("T", bound=Question)

#: Sources that begin so name a generator.
PREFIX = "generated:"
#: The generator that has worked solutions.
WITH_SOLUTIONS = "arithmetic"
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

#: Of 20 hash buckets, 14 are train, 3 validation, 3 test.
_BUCKETS: tuple[Split, ...] = (*SPLITS[:1] * 14, *SPLITS[1:2] * 3, *SPLITS[2:] * 3)
#: How often a repeated problem is drawn again before the repetition is accepted: the smallest
#: strata hold fewer different questions than a large set asks of them.
_MAX_REPEATS = 30


def checked_count(source: str, limit: int | None, what: str) -> int:
    """How many `what` (problems, demonstrations) to generate. ValueError for an unknown generator
    and where the number is not given."""
    names = [WITH_SOLUTIONS] if what == "demonstrations" else [*families.FAMILIES]
    if source.removeprefix(PREFIX) not in names:
        raise ValueError(f"{source!r}: generated {what} are {' and '.join(names)}.")
    if limit is None:
        raise ValueError(f"{source!r} has no end: say how many {what} are wanted.")
    return limit


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"Generated problems have the splits {', '.join(SPLITS)}, got {split!r}.")


def split_of(family: str, key: tuple[int | str, ...]) -> Split:
    """The only split in which problems with these canonical numbers occur."""
    digest = hashlib.blake2s(repr((family, *key)).encode(), digest_size=8).digest()
    return _BUCKETS[int.from_bytes(digest, "big") % len(_BUCKETS)]


def generate(split: str, n: int, *, seed: int, name: str = WITH_SOLUTIONS) -> list[Problem]:
    """The first `n` problems of a split; a larger `n` only appends. A question occurs once unless
    its stratum is exhausted. name: of the generator. ValueError for an unknown split."""
    check_split(split)
    problems: list[Problem] = []
    seen: set[str] = set()
    for index in range(n):
        rng = _stream(name, seed, split, index)
        family, level, case = _draw(rng, split, families.FAMILIES[name])
        for _ in range(_MAX_REPEATS):
            if case.question not in seen:
                break
            case = _draw_question(rng, split, family, level, families.FAMILIES[name])
        seen.add(case.question)
        problems.append(
            Problem(
                id=_identifier(family, level, index, case),
                question=case.question,
                answer=case.answer,
                source=PREFIX + name,
                subject=family,
                level=str(level),
            )
        )
    return problems


def cases(split: str, n: int, *, seed: int) -> Iterator[tuple[str, int, Case]]:
    """`n` independent draws of (family, level, case) from a split."""
    for index in range(n):
        yield _draw(_stream(WITH_SOLUTIONS, seed, split, index), split, families.ARITHMETIC)


def demonstrations(n: int, *, seed: int, markup: Markup) -> Iterator[Demonstration]:
    """`n` worked responses from the train split, text and code in turn, in one of the decision's
    ways, with the interpreter's true output. Programs that fail are shown to fail: only outcomes
    tell which way, and which decision, is the better one."""
    for index, (family, level, case) in enumerate(cases("train", n, seed=seed)):
        decision = DECISIONS[index % len(DECISIONS)]
        draw = _stream(WITH_SOLUTIONS, seed, "way", index).random()
        yield Demonstration(
            id=_identifier(family, level, index, case),
            question=case.question,
            response=response(case, decision, int(draw >= FIRST_SHARE), markup),
            decision=decision,
        )


def response(case: Case, decision: DecisionName, way: int, markup: Markup) -> str:
    """A worked solution as the model should write it, the interpreter's output included. way: which
    of the decision's; the last one where there are fewer."""
    prefix = markup.prefixes(decision)[0]
    if decision == "text":
        chain = case.chains[min(way, len(case.chains) - 1)]
        return f"{prefix}{chain and chain + ' '}\\boxed{{{case.answer}}}"
    program = case.programs[min(way, len(case.programs) - 1)]
    output = outputs.render_output(program, markup)
    if program.status is Status.OK and program.stdout:
        ending = f"\\boxed{{{program.stdout.strip()}}}"
    else:
        ending = "No result. \\boxed{none}"
    return f"{prefix}{program.code}{markup.code_close}{output}{ending}"


def _stream(name: str, seed: int, split: str, index: int) -> random.Random:
    # A string seed is hashed by SHA-512 inside `random`, the same on every platform.
    return random.Random(f"acim-{name}/{seed}/{split}/{index}")


def _draw(rng: random.Random, split: str, among: Mapping[str, Family[T]]) -> tuple[str, int, T]:
    family = rng.choice(tuple(among))
    level = rng.choice(families.LEVEL_MIX)
    return family, level, _draw_question(rng, split, family, level, among)


def _draw_question(
    rng: random.Random, split: str, family: str, level: int, among: Mapping[str, Family[T]]
) -> T:
    while True:
        case = among[family](rng, level)
        if split_of(family, case.key) == split:
            return case


def _identifier(family: str, level: int, index: int, case: Question) -> str:
    digest = hashlib.blake2s(case.question.encode(), digest_size=3).hexdigest()
    return f"{family}-{level}-{index:05d}-{digest}"
