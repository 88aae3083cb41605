"""Levels as predicates over pass rates, against sets written out by hand."""

from typing import Any

import pytest

from acim_jax.data import levels
from acim_jax.evaluation import difficulty
from acim_jax.evaluation.episode_records import Judged
from acim_jax.records import Problem

ROLES = {"small": "1b", "mid": "7b", "large": "32b"}
PUBLISHED = levels.parse(levels.PUBLISHED, "published")
#: Pass rates of the small, the mid and the large model, and the levels that arXiv:2504.00829 gives,
#: without those that the random share of solved problems decides.
RATES = {
    "a": ((0.5, 1.0, 1.0), [1]),
    "b": ((0.5, 0.5, 0.5), [1, 2, 3]),
    "c": ((0.0, 1.0, 0.75), [2, 3]),
    "d": ((0.0, 0.0, 0.25), [3]),
    "e": ((1.0, 1.0, 1.0), []),
    "f": ((0.25, 0.0, 0.0), [1, 3]),
}


def columns(rates: dict[str, tuple[float | None, ...]]) -> dict[str, dict[str, object]]:
    names = [f"pass_rate/{name}" for name in ROLES.values()]
    return {key: dict(zip(names, of, strict=True)) for key, of in rates.items()}


def label(
    rates: dict[str, tuple[float | None, ...]], predicates: levels.Levels, **more: Any
) -> difficulty.Labelled:
    problems = [Problem(key, "?", "1", kind=more.get("kind", "math")) for key in rates]
    settings = {"unsolved": "keep", "seed": 0} | {k: v for k, v in more.items() if k != "kind"}
    names = [*ROLES.values()]
    return difficulty.label(problems, columns(rates), predicates, ROLES, names, **settings)


def test_the_published_levels() -> None:
    made = label({key: of for key, (of, _) in RATES.items()}, PUBLISHED)
    solved = {"a", "e"}
    for key, (_, wanted) in RATES.items():
        got = [level for level in made.levels[key] if not (key in solved and level == 3)]
        assert got == wanted, key
    assert made.strongest == "32b" and made.unsolved == 1


@pytest.mark.parametrize(("kind", "share"), [("math", 0.5), ("code", 0.1)])
def test_a_share_of_what_the_large_model_solves(kind: str, share: float) -> None:
    """Binomial: within 4 standard errors. Drawn by seed and id, whatever else is in the file."""
    ids = [f"p{i}" for i in range(2000)]
    made = label(dict.fromkeys(ids, (1.0, 1.0, 1.0)), PUBLISHED, kind=kind)
    drawn = {key for key in ids if made.levels[key] == [3]}
    assert abs(len(drawn) - 2000 * share) < 4 * (2000 * share * (1 - share)) ** 0.5
    some = dict.fromkeys(ids[:100:-7], (1.0, 1.0, 1.0))
    assert {k for k in some if label(some, PUBLISHED, kind=kind).levels[k]} == drawn & some.keys()
    other = label(dict.fromkeys(ids, (1.0, 1.0, 1.0)), PUBLISHED, kind=kind, seed=1)
    assert {key for key in ids if other.levels[key]} != drawn


@pytest.mark.parametrize(
    ("unsolved", "wanted"), [("keep", [1, 3]), ("no-level", []), ("discard", None)]
)
def test_what_the_strongest_never_solves(unsolved: str, wanted: list[int] | None) -> None:
    made = label({key: of for key, (of, _) in RATES.items()}, PUBLISHED, unsolved=unsolved)
    assert made.levels.get("f") == wanted
    assert made.unsolved == 1
    assert made.levels["d"] == [3]


def test_without_the_role_large_the_strongest_is_measured() -> None:
    rates = columns({"a": (0.0, 0.5, 1.0), "b": (1.0, 0.75, 0.0), "c": (0.5, 0.75, 0.5)})
    problems = [Problem(key, "?", "1") for key in rates]
    names = [*ROLES.values()]
    made = difficulty.label(problems, rates, {}, {}, names, unsolved="keep", seed=0)
    assert made.strongest == "7b" and made.unsolved == 0


def test_own_levels_over_roles_models_and_other_columns() -> None:
    own = levels.parse(
        {"hard": {"32b": "[0, 0.5)", "length": "(10, 99]"}, "7": {"mid": 0.5}}, "own.yaml"
    )
    rates = columns({"x": (0.0, 0.5, 0.25), "y": (0.0, 0.5, 0.5), "z": (None, None, 0.0)})
    for key, length in (("x", 11), ("y", 11), ("z", 10)):
        rates[key]["length"] = length
    problems = [Problem(key, "?", "1") for key in rates]
    made = difficulty.label(problems, rates, own, ROLES, [], unsolved="keep", seed=0)
    assert made.levels == {"x": ["hard", 7], "y": [7], "z": []}


def test_pass_rates_count_right_samples_that_the_executor_did_not_lose() -> None:
    def sample(problem: str, reward: float, stop: str = "eos") -> Judged:
        return Judged(problem, 0, "native", "text", reward, "1", stop, (), 9)

    runs = [
        sample("p", 1.0), sample("p", 0.5), sample("p", 0.0, "length"), sample("p", 0.0, "infra"),
        sample("q", 0.0, "infra"),
    ]  # fmt: skip
    assert difficulty.pass_rates({"f": {"native": runs}}, "m") == {
        "p": {"pass_rate/m": pytest.approx(1 / 3), "samples/m": 3},
        "q": {"pass_rate/m": None, "samples/m": 0},
    }


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([1], "levels by their names"),
        ({"1": []}, "level 1 has no condition"),
        ({"1": {"small": "0 to 1"}}, "level 1: small: needed a number or an interval"),
        ({"1": {"small": "(0, one)"}}, "level 1: small: needed"),
        ({"1": {"small": True}}, "level 1: small: needed"),
        ({"1": {"small": "__import__('os').system('true')"}}, "level 1: small: needed"),
        ({"1": {"small": 0, "share": 2}}, "level 1: share must be a number from 0 to 1"),
        ({"1": {"small": 0, "share": {"maths": 0.5}}}, "one for each of math, code"),
        ({"1": {"kind": "maths"}}, "kind must be one of math, code, got 'maths'"),
        ({"1": {"levels": 0.5}}, "levels must be a level or a list of levels"),
        ({"1": {"levels": 2}}, "level 1 asks for levels"),
    ],
)
def test_what_is_no_level_is_refused(written: object, said: str) -> None:
    with pytest.raises(ValueError, match=r"own\.yaml: ") as refused:
        levels.parse(written, "own.yaml")
    assert said in str(refused.value)


#: As `acim difficulty --unsolved keep` writes them: two of math, two of code, one unsolved.
LEVELLED = [
    Problem(
        name, "?", "1", kind=kind, level=str(steps % 4),
        extra={"levels": has, "pass_rate/7b": rate, "steps": steps},
    )
    for name, kind, has, rate, steps in (
        ("m1", "math", [1, 2], 0.5, 4), ("m2", "math", [2], 1.0, 9), ("m3", "math", [3], 0.0, 9),
        ("c1", "code", [1], 0.25, 4), ("c3", "code", ["hard", 3], 0.75, 2),
    )
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ([{"levels": 2}], "m1 m2"),
        ([{"levels": [1, "hard"]}], "m1 c1 c3"),
        ([{"kind": "math", "levels": 1}, {"kind": "code", "levels": 3}], "m1 c3"),
        ([{"levels": 3}], "c3"),
        ([{"7b": "(0, 1)", "steps": 4}], "m1 c1"),
        ([{"level": "[1, 2]"}], "m2 c3"),
        ([{"pass_rate/7b": "[0.75, 1]", "share": {"code": 0}}], "m2"),
    ],
)
def test_training_problems_by_their_levels_and_columns(where: list[object], names: str) -> None:
    conditions = levels.conditions(where, "data.where")
    chosen = difficulty.choose(LEVELLED, conditions, keep_unsolved=False, seed=0)
    assert [problem.id for problem in chosen.problems] == names.split()
    assert (chosen.strongest, chosen.unsolved) == ("7b", 1)


def test_unsolved_problems_are_kept_on_demand() -> None:
    conditions = levels.conditions([{"levels": 3}], "data.where")
    chosen = difficulty.choose(LEVELLED, conditions, keep_unsolved=True, seed=0)
    assert [problem.id for problem in chosen.problems] == ["m3", "c3"]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ([{"32b": 1}], "looks at 32b, which no training problem has; they have levels, pass_rate"),
        ([{"7b": 0}], "none of 5 training problems meets it; 1 that 7b never solves"),
    ],
)
def test_a_choice_of_nothing_is_refused(where: list[object], said: str) -> None:
    with pytest.raises(ValueError, match=f"data.where.*{said}"):
        difficulty.choose(
            LEVELLED, levels.conditions(where, "data.where"), keep_unsolved=False, seed=0
        )


def test_roles() -> None:
    names = ["a", "b", "c", "d"]
    assert levels.roles([], names) == {"small": "a", "mid": "b", "large": "c"}
    assert levels.roles(["large=models/b/", "x=a"], names) == {"large": "b", "x": "a"}
    for pairs, said in ((["small"], "ROLE=M"), (["s=a", "s=b"], "twice"), (["s=e"], "no column")):
        with pytest.raises(ValueError, match=said):
            levels.roles(pairs, names)
