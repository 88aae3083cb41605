"""References that no response can be right about are found before any response is made."""

import json
import os
from pathlib import Path

import pytest

from acim_jax.grading import golds
from acim_jax.records import Problem

#: Real problem files: $ACIM_REAL_DATA, or `shared/data` beside the checkout.
REAL = Path(os.environ.get("ACIM_REAL_DATA", str(Path(__file__).parents[3] / "shared" / "data")))
PROSE = "Multiply the number of boxes by 4. So there are 20 of them."


@pytest.mark.parametrize(
    "gold",
    ["", " ", "$$", r"\text{}", ".", r"\frac{1}{2", "5\\", "}{", r"\boxed{20}", r"So \boxed{20}.",
     r"\boxed{5"],
)  # fmt: skip
def test_what_nothing_equals(gold: str) -> None:
    assert not golds.equals_itself(gold)


@pytest.mark.parametrize(
    "gold",
    ["5", " 5 ", "9" * 1500, r"\frac{1}{2}", "[0, 1)", r"\{1, 2\}", "p.m.", "Monday and Tuesday",
     r"\text{(A)}", r"x \ne 2", "6 p.m. on Monday", "St. Louis",
     r"\begin{pmatrix}1\\2\end{pmatrix}"],
)  # fmt: skip
def test_answers_equal_themselves_and_are_no_prose(gold: str) -> None:
    assert golds.equals_itself(gold)
    assert not golds.is_prose(gold)


@pytest.mark.parametrize(
    "gold",
    [PROSE, "5 * 4 = 20. So it is 20", "word " * 21, "x+" * 600 + "x", "Proof. Let n be.",
     "6*7=42\n#### 42"],
)  # fmt: skip
def test_prose(gold: str) -> None:
    assert golds.is_prose(gold)


def of(*answers: str, **fields: object) -> list[Problem]:
    return [Problem(f"p{n}", "q?", answer, **fields) for n, answer in enumerate(answers)]  # pyright: ignore[reportArgumentType]


def test_one_warning_says_what_is_left_out_and_what_is_prose(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = of("1", r"\frac{1}{2", PROSE, *["}{"] * 5)
    second = of("2", "\\boxed{3}")
    code = of("", kind="code", tests=("assert f(1)",))
    kept = golds.usable({"a": first, "b": second, "c": code, "d": []})
    assert kept == {"a": [first[0], first[2]], "b": second[:1], "c": code, "d": []}
    (record,) = caplog.records
    said = record.getMessage()
    assert "7 of 11 problems are left out" in said
    assert r"a, 'p1' ('\\frac{1}{2')" in said and "and 2 more" in said
    assert "1 of 11 problems have prose" in said and "a, 'p2' ('Multiply the number" in said


def test_nothing_is_said_of_answers(caplog: pytest.LogCaptureFixture) -> None:
    problems = of("1", r"\frac{1}{2}")
    assert golds.usable({"a": problems}) == {"a": problems}
    assert not caplog.records


def test_data_without_any_usable_reference_are_refused() -> None:
    with pytest.raises(ValueError, match=r"b: no reference answer equals itself.*'p0' \('}{'\)"):
        golds.usable({"a": of("1"), "b": of("}{")})


@pytest.mark.skipif(not REAL.is_dir(), reason="no real files: set ACIM_REAL_DATA")
@pytest.mark.parametrize("name", ["math500_test", "svamp_test", "aime24_test", "amc23_test"])
def test_published_references_are_answers(name: str) -> None:
    path = REAL / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    for line in path.read_text(encoding="utf-8").splitlines():
        gold = str(json.loads(line)["answer"])
        assert golds.equals_itself(gold) and not golds.is_prose(gold), gold
