"""Published reference answers are equal to themselves in every usual spelling."""

import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from acim_jax.grading.grader import Grader

#: Real problem files: $ACIM_REAL_DATA, or `shared/data` beside the checkout.
REAL = Path(os.environ.get("ACIM_REAL_DATA", str(Path(__file__).parents[3] / "shared" / "data")))
WRAPPED = (
    "\\boxed{<>}",
    "So we get\n$$\\boxed{<>}.$$",
    "Hence $\\boxed{<>}$.",
    "It is \\fbox{<>}",
    "First \\boxed{17}, no: \\boxed{<>}",
    "\\boxed{$<>$}",
    "\\boxed{\\(<>\\)}",
    "\\boxed{\\displaystyle <>}",
    "\\boxed{ <> }",
    "\\boxed{<>.}",
    "\\boxed{\\boxed{<>}}",
    "**Final answer:** \\boxed{**<>**}",
)
IS_NUMBER = re.compile(r"-?\d+")


def golds(name: str) -> list[str]:
    path = REAL / name
    if not path.is_file():
        pytest.skip(f"no {name}: set ACIM_REAL_DATA")
    lines = path.read_text(encoding="utf-8").splitlines()
    return sorted({json.loads(line)["answer"] for line in lines})


def spellings(gold: str) -> Iterator[str]:
    """The same answer as others would write it, without a box."""
    yield gold
    yield gold.replace(" ", "") if "\\text" not in gold and " " not in gold.strip() else gold
    yield gold.replace("\\frac", "\\dfrac")
    yield gold.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    yield gold.replace("\\left", "").replace("\\right", "")
    if gold.startswith("(") and gold.endswith(")"):
        yield f"\\left{gold[:-1]}\\right)"
    yield re.sub(r"\\text\{([^{}]*)\}", r"\\mathrm{\1}", gold)
    if re.fullmatch(r"\\text\{[^{}]*\}", gold):
        yield gold[6:-1]
        yield f"\\textbf{{{gold[6:-1]}}}"
    yield re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\\frac{\1} {\2}", gold)
    if re.fullmatch(r"-?\\frac\{\d+\}\{\d+\}", gold):
        yield re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", gold)
        yield re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"{\1 \\over \2}", gold)
    yield re.sub(r"\\sqrt\{(\d)\}", r"\\sqrt\1", gold)
    yield re.sub(r"\^\\circ", r"^{\\circ}", gold)
    yield re.sub(r"\^\\circ$", " degrees", gold)
    yield gold.replace("\\%", "\\text{ percent}") if gold.endswith("\\%") else gold
    if IS_NUMBER.fullmatch(gold):
        number = int(gold)
        yield f"{number:,}"
        yield f"{number:,}".replace(",", "{,}")
        yield f"{number:,}".replace(",", "\\,")
        yield f"{number}.0"
        yield f"{number}.00"
        yield f"x = {number}"
        yield f"\\${number}"
        yield f"{number}\\text{{ units}}"
        yield f"{number} apples"
        yield f"\\text{{{number}}}"
        yield f"\\mathbf{{{number}}}"
        yield f"\\frac{{{2 * number}}}{{2}}"


def wrong(grader: Grader, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    grades = grader.grade(pairs)
    return [pair for pair, grade in zip(pairs, grades, strict=True) if not grade.correct]


@pytest.mark.parametrize(
    "name", ["math500_test.jsonl", "gsm8k_test.jsonl", "aime24_test.jsonl", "amc23_test.jsonl"]
)
def test_every_usual_spelling_of_a_reference_answer_is_right(grader: Grader, name: str) -> None:
    pairs = [
        (frame.replace("<>", spelled), gold)
        for gold in golds(name)
        for spelled in dict.fromkeys(spellings(gold))
        for frame in (WRAPPED if spelled == gold else WRAPPED[:1])
    ]
    assert len(pairs) > 300
    assert wrong(grader, pairs) == []


def test_reference_answers_differ_from_one_another(grader: Grader) -> None:
    """Neighbours in the sorted list look alike, and few of them are the same."""
    answers = golds("math500_test.jsonl")
    neighbours = [(f"\\boxed{{{a}}}", b) for a, b in itertools.pairwise(answers)]
    grades = grader.grade(neighbours)
    assert [pair for pair, grade in zip(neighbours, grades, strict=True) if grade.correct] == SAME


#: The same number, with and without a unit.
SAME = [
    ("\\boxed{120}", "120^\\circ"),
    ("\\boxed{15}", "15\\mbox{ cm}^2"),
    ("\\boxed{30}", "30^\\circ"),
    ("\\boxed{36}", "36^\\circ"),
]
