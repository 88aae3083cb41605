import collections
import re

import pytest

from acim_jax.data import generated
from acim_jax.markup import Markup
from acim_jax.records import Demonstration, Problem

MARKUP = Markup()
ENDLESS = ("mul", "mod", "sumlist", "lastdigit", "word", "units")
PINNED = [
    ("mul-0-00000-b3848e", "What is 20 * 50?", "1000"),
    ("mul-2-00001-b0cea9", "What is 6225 * 316?", "1967100"),
    ("mod-1-00002-69c757", "What is 266 mod 11?", "2"),
]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Problem]]:
    return {split: generated.generate(split, 3000, seed=5) for split in generated.SPLITS}


def substance(problem: Problem) -> tuple[str, ...]:
    """What a problem is about, whatever its wording: numbers in any order, names and units."""
    words = {"order": r"[A-Z][a-z]{2}\b", "units": r"[\d.]*\d| k?[glm]\b| [cm][ml]\b| t\b"}
    pattern = words.get(problem.subject, r"\d+")
    found = re.findall(pattern, problem.question)
    if problem.subject == "word":
        return (problem.question,)
    if problem.subject == "order":
        found = [name for name in found if name != "Who"]
        return (problem.subject, *found)
    return (problem.subject, *sorted(found))


def test_splits_share_no_problem(splits: dict[str, list[Problem]]) -> None:
    kinds = {split: {substance(p) for p in problems} for split, problems in splits.items()}
    assert all(len(kind) > 1000 for kind in kinds.values())
    assert not kinds["train"] & kinds["test"]
    assert not kinds["train"] & kinds["validation"]
    assert not kinds["validation"] & kinds["test"]


def test_seeds_do_not_mix_splits(splits: dict[str, list[Problem]]) -> None:
    other = {p.question for p in generated.generate("test", 3000, seed=6)}
    assert not other & {p.question for p in splits["train"]}
    assert other != {p.question for p in splits["test"]}


def test_same_seed_same_problems_and_more_only_appends() -> None:
    few, many = (generated.generate("validation", n, seed=3) for n in (40, 160))
    assert many[:40] == few
    assert generated.generate("validation", 40, seed=4) != few


def test_known_problem_of_a_known_seed() -> None:
    """Pins the stream: published figures name a seed, so its problems must never change."""
    first = generated.generate("test", 3, seed=0)
    assert [(p.id, p.question, p.answer) for p in first] == PINNED


def test_ids_differ_and_strata_are_told(splits: dict[str, list[Problem]]) -> None:
    problems = [p for problems in splits.values() for p in problems]
    assert len({p.id for p in problems}) == len(problems)
    counts = collections.Counter(p.stratum for p in problems)
    assert len(counts) == 33
    families = len({p.subject for p in problems})
    for stratum, count in counts.items():
        share = {"0": 0.25, "1": 0.5, "2": 0.25}[stratum[-1]] / families
        expected = share * len(problems)
        assert abs(count - expected) < 5 * expected**0.5  # five standard deviations


def test_questions_repeat_only_in_strata_that_are_exhausted(
    splits: dict[str, list[Problem]],
) -> None:
    for problems in splits.values():
        counts = collections.Counter(p.question for p in problems)
        repeated = {p.stratum for p in problems if counts[p.question] > 1}
        endless = {f"{family}/{level}" for family in ENDLESS for level in (1, 2)}
        assert not repeated & endless
        assert len(counts) > 0.8 * len(problems)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="dev"):
        generated.generate("dev", 1, seed=0)


def test_demonstrations_show_both_decisions_of_train_problems() -> None:
    shown = list(generated.demonstrations(2200, seed=1, markup=MARKUP))
    strata: dict[str, set[str]] = collections.defaultdict(set)
    for one in shown:
        strata[one.id[: one.id.index("-") + 2]].add(one.decision)
    assert len(strata) == 33
    assert set(map(frozenset, strata.values())) == {frozenset({"text", "code"})}
    for split in ("validation", "test"):
        held_out = {p.question for p in generated.generate(split, 1000, seed=1)}
        assert not held_out & {one.question for one in shown}


def first_way_of(shown: list[Demonstration], kind: str, mark: str) -> float:
    """The share of demonstrations that hold `mark`, of all of a family and decision."""
    family, _, decision = kind.partition("/")
    own = [d for d in shown if d.id.startswith(f"{family}-") and d.decision == decision]
    assert len(own) > 300
    return sum(mark in d.response for d in own) / len(own)


def test_three_demonstrations_in_five_show_the_first_way() -> None:
    """Independently of how it goes on, in both decisions. A share of 300 draws has a
    standard error of 0.028."""
    shown = list(generated.demonstrations(8000, seed=3, markup=MARKUP))
    for kind, mark in (
        ("mul/code", "print("),
        ("mod/text", "="),
        ("gcd/code", "gmpy2"),
        ("sumlist/code", "pandas"),
        ("lastdigit/code", "**"),
        ("division/code", "print(int("),
        ("units/text", "="),
    ):
        assert abs(first_way_of(shown, kind, mark) - 0.6) < 0.08, kind
    for kind, mark in (("gcd/text", " mod "), ("sumlist/text", ". "), ("division/text", "zeros")):
        assert abs(first_way_of(shown, kind, mark) - 0.4) < 0.08, kind
    assert first_way_of(shown, "order/code", "networkx") == 1


def test_a_failed_program_is_shown_to_fail() -> None:
    shown = [
        (one.id.rsplit("-", 2)[0], one.response)
        for one in generated.demonstrations(2000, seed=2, markup=MARKUP)
        if one.decision == "code"
    ]
    for stratum, program, ending in (
        ("oddsum-1", "range(", "```output\n[timed out]\n```\nNo result. \\boxed{none}"),
        ("lastdigit-2", "**", "```output\n[timed out]\n```\nNo result. \\boxed{none}"),
        ("mul-1", "x=", "```output\n[no output]\n```\nNo result. \\boxed{none}"),
        (
            "order-0",
            "networkx",
            "```output\nModuleNotFoundError: No module named 'networkx' (line 1)\n```\n"
            "No result. \\boxed{none}",
        ),
    ):
        own = [text for name, text in shown if name == stratum and program in text]
        assert own and all(text.endswith(ending) for text in own)
    rounded = [text for name, text in shown if name == "division-1" and "print(int(" in text]
    for text in rounded:
        found = re.search(r"```output\n(\d+)\n```\n\\boxed\{(\d+)\}$", text)
        assert found and found[1] == found[2] and found[1].endswith("0000")
    assert rounded
