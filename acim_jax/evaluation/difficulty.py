"""How hard problems are: pass rates of models, and the levels that they give."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from acim_jax import rng
from acim_jax.data import levels
from acim_jax.data.levels import PASS_RATE, SAMPLES, Condition, Levels
from acim_jax.evaluation import tables
from acim_jax.evaluation.episode_records import Judgements
from acim_jax.records import Problem, Stop, group_by

#: What becomes of problems that the strongest model never solves: they stay without a level, are
#: left out, or stay with the levels that they meet.
Unsolved = Literal["no-level", "discard", "keep"]
#: A problem's columns by their names.
Columns = dict[str, object]


def pass_rates(judged: Judgements, model: str) -> dict[str, Columns]:
    """The model's columns by problem id: the share of right samples, and their number.

    A partial reward is not right. Samples that our own executor lost do not count; without any
    other, the rate is None.
    """
    found: dict[str, Columns] = {}
    for by_guide in judged.values():
        runs = [one for of_guide in by_guide.values() for one in of_guide]
        for problem_id, group in group_by(runs, lambda one: one.problem_id).items():
            right = [one.is_right for one in group if one.stop != Stop.INFRA]
            rate = sum(right) / len(right) if right else None
            found[problem_id] = {f"{PASS_RATE}{model}": rate, f"{SAMPLES}{model}": len(right)}
    return found


@dataclasses.dataclass(frozen=True)
class Labelled:
    """levels: of each problem that stays, by its id. unsolved: problems that `strongest` never
    solves."""

    levels: Mapping[str, Sequence[str | int]]
    strongest: str | None
    unsolved: int


def label(
    problems: Sequence[Problem],
    columns: Mapping[str, Mapping[str, object]],
    predicates: Levels,
    roles: Mapping[str, str],
    names: Sequence[str],
    *,
    unsolved: Unsolved,
    seed: int,
) -> Labelled:
    """The levels that problems meet by their columns (by problem id).

    A predicate's name is a role, a model, or a column. names: the models, of which the role `large`
    is the strongest, or without it the one with the highest mean pass rate. Random shares are drawn
    by (seed, problem id), so another share of the same seed holds a smaller one.
    """
    strongest = roles.get("large") or _strongest(columns, names)
    found: dict[str, Sequence[str | int]] = {}
    never = 0
    for problem in problems:
        numbers = _numbers(columns[problem.id], roles)
        draw = float(rng.host(seed, "difficulty", problem.id).random())
        is_unsolved = strongest is not None and numbers.get(strongest) == 0
        never += is_unsolved
        if is_unsolved and unsolved == "discard":
            continue
        met = levels.meets(predicates, numbers, problem.kind, draw)
        found[problem.id] = [] if is_unsolved and unsolved == "no-level" else met
    return Labelled(found, strongest, never)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """problems: that meet a condition. strongest: the model with the highest mean pass rate.
    unsolved: problems that it never solves, which are not among them."""

    problems: list[Problem]
    strongest: str | None
    unsolved: int


def choose(
    problems: Sequence[Problem],
    conditions: Sequence[Condition],
    *,
    keep_unsolved: bool,
    seed: int,
) -> Chosen:
    """The problems, as `acim difficulty` wrote them, that meet one of the conditions.

    Those that the strongest scoring model never solves are discarded (arXiv:2504.00829) unless
    `keep_unsolved`. ValueError for a column or levels that no problem has, and where none is left.
    """
    columns = {problem.id: _fields(problem) for problem in problems}
    there = dict.fromkeys(name for of_problem in columns.values() for name in of_problem)
    names = [n.removeprefix(PASS_RATE) for n in there if n.startswith(PASS_RATE)]
    wanted = levels.columns_of(conditions) | {levels.FIELD for one in conditions if one.levels}
    if unknown := sorted(wanted - {*there, *names}):
        raise ValueError(
            f"data.where looks at {', '.join(unknown)}, which no training problem has; they have "
            f"{', '.join(there) or 'no further fields'}. `acim difficulty` writes pass rates and "
            "levels."
        )
    strongest = None if keep_unsolved else _strongest(columns, names)
    found: list[Problem] = []
    never = 0
    for problem in problems:
        numbers = _numbers(columns[problem.id], {})
        draw = float(rng.host(seed, "where", problem.id).random())
        has = problem.extra.get(levels.FIELD)
        own = cast(list[object], has) if isinstance(has, list) else []
        is_unsolved = strongest is not None and numbers.get(strongest) == 0
        never += is_unsolved
        if not is_unsolved and any(
            one.holds(numbers, problem.kind, draw, own) for one in conditions
        ):
            found.append(problem)
    if not found:
        raise ValueError(
            f"data.where: none of {len(problems)} training problems meets it"
            + (f"; {never} that {strongest} never solves are discarded" if never else "")
            + ". Change data.where, or set data.keep_unsolved."
        )
    return Chosen(found, strongest, never)


def _fields(problem: Problem) -> Mapping[str, object]:
    """The fields that are not ours, and `level` where it is a whole number."""
    return {**problem.extra} | ({"level": int(problem.level)} if problem.level.isdecimal() else {})


def _numbers(columns: Mapping[str, object], roles: Mapping[str, str]) -> dict[str, float]:
    """Columns that hold numbers, by their names, their models, and these models' roles."""
    known = {n: x for n, value in columns.items() if (x := levels.number(value)) is not None}
    rates = {n.removeprefix(PASS_RATE): v for n, v in known.items() if n.startswith(PASS_RATE)}
    by_role = {role: rates[model] for role, model in roles.items() if model in rates}
    return known | rates | by_role


def _strongest(columns: Mapping[str, Mapping[str, object]], names: Sequence[str]) -> str | None:
    means = {name: mean_rate(columns, name) for name in names}
    known = {name: mean for name, mean in means.items() if mean is not None}
    return max(known, key=lambda name: known[name], default=None)


def mean_rate(columns: Mapping[str, Mapping[str, object]], model: str) -> float | None:
    """Mean pass rate of a model over the problems that have one."""
    return tables.mean(rates(columns, model))


def rates(columns: Mapping[str, Mapping[str, object]], model: str) -> list[float]:
    """A model's pass rates of the problems that have one."""
    values = (levels.number(of.get(f"{PASS_RATE}{model}")) for of in columns.values())
    return [value for value in values if value is not None]
