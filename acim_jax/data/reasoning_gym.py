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
#: One item in seven belongs to the smaller splits; more are drawn before giving up.
_DRAWS_PER_PROBLEM = 50


def load(name: str, n: int, *, split: str, seed: int) -> list[Problem]:
    """The first `n` different problems of data set `name` in `split`.

    ValueError if the package is missing, the name is unknown, or the data set cannot give `n`.
    """
    if split not in generated.SPLITS:
        raise ValueError(f"reasoning-gym:{name}: the splits are {', '.join(generated.SPLITS)}.")
    problems: list[Problem] = []
    seen: set[str] = set()
    for index, item in enumerate(_items(name, n * _DRAWS_PER_PROBLEM, seed)):
        question, answer = item.get("question"), item.get("answer")
        if not isinstance(question, str) or not isinstance(answer, str):
            raise ValueError(f"reasoning-gym:{name}: item {index} has no question or no answer.")
        if question in seen or generated.split_of(name, (question,)) != split:
            continue
        seen.add(question)
        problems.append(
            Problem(
                id=f"{name}-{seed}-{index:06d}",
                question=question,
                answer=answer,
                source=f"reasoning-gym:{name}",
                subject=name,
            )
        )
        if len(problems) == n:
            return problems
    raise ValueError(
        f"reasoning-gym:{name} gave {len(problems)} different problems for {split}, {n} are wanted."
    )


def _items(name: str, size: int, seed: int) -> Iterable[dict[str, object]]:
    try:
        package = importlib.import_module("reasoning_gym")  # an optional extra
    except ImportError as error:
        raise ValueError(
            f"reasoning-gym:{name} needs the package: pip install 'acim-jax[reasoning-gym]'."
        ) from error
    try:
        dataset = package.create_dataset(name, size=size, seed=seed)
    except ValueError as error:
        raise ValueError(f"reasoning-gym:{name}: {error}.") from error
    return cast(Iterable[dict[str, object]], dataset)
