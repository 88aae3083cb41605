"""Problems of the `reasoning-gym` package, by the name of one of its data sets.

They are graded like every other problem, by comparing with the package's own answer; its verifiers,
which give partial credit and accept several answers to some puzzles, are not used. Choose data sets
with one right answer. It offers no demonstrations. A question's hash decides its split, so train,
validation and test are disjoint.
"""

import importlib
from collections.abc import Iterable
from typing import cast

from acim_jax.data import generated
from acim_jax.records import Problem

#: Sources that begin so name a data set of the package.
PREFIX = "reasoning-gym:"
#: One item in seven belongs to each of the smaller splits; this many are drawn before giving up.
_DRAWS_PER_PROBLEM = 50


def load(source: str, limit: int | None, *, split: str, seed: int) -> list[Problem]:
    """The first `limit` different problems of `source`, `reasoning-gym:NAME`, in `split`.

    ValueError without a limit, if the package is missing, if the name is unknown, and if the data
    set cannot give so many.
    """
    if limit is None:
        raise ValueError(f"{source!r} has no end: say how many problems are wanted.")
    generated.check_split(split)
    name = source.removeprefix(PREFIX)
    problems: dict[str, Problem] = {}
    for index, item in enumerate(_items(source, limit * _DRAWS_PER_PROBLEM, seed)):
        question, answer = item.get("question"), item.get("answer")
        if not isinstance(question, str) or not isinstance(answer, str):
            raise ValueError(f"{source}: item {index} has no question or no answer.")
        if question in problems or generated.split_of(name, (question,)) != split:
            continue
        identifier = f"{name}-{seed}-{index:06d}"
        problems[question] = Problem(identifier, question, answer, source=source, subject=name)
        if len(problems) == limit:
            return list(problems.values())
    raise ValueError(
        f"{source} gave {len(problems)} different problems for {split}, {limit} are wanted."
    )


def _items(source: str, size: int, seed: int) -> Iterable[dict[str, object]]:
    try:
        package = importlib.import_module("reasoning_gym")  # an optional extra
    except ImportError as error:
        raise ValueError(
            f"{source} needs the package: pip install 'acim-jax[reasoning-gym]'."
        ) from error
    try:
        dataset = package.create_dataset(source.removeprefix(PREFIX), size=size, seed=seed)
    except ValueError as error:
        raise ValueError(f"{source}: {error}.") from error
    return cast(Iterable[dict[str, object]], dataset)
