"""Data sets by name, and their own records in local files. The records are made up, in the form of
the data sets' repositories."""

import json
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from acim_jax.data import known, problems
from acim_jax.records import Problem

CHECK = "def check(candidate):\n    assert candidate(2) == 4\n"
#: Data set -> (a record as its repository has it, what must come of it); ids are of the hub.
RECORDS: dict[str, tuple[dict[str, object], Problem]] = {
    "gsm8k": (
        {"question": "6 boxes of 7?", "answer": "6*7=<<6*7=42>>42\n#### 1,042"},
        Problem("gsm8k/test/0", "6 boxes of 7?", "1042"),
    ),
    "math": (
        {
            "problem": "Half of 1?",
            "level": "Level 2",
            "type": "Algebra",
            "solution": r"It is $\boxed{\frac{1}{2}}$.",
        },
        Problem("math/test/0", "Half of 1?", r"\frac{1}{2}", subject="Algebra", level="2"),
    ),
    "math500": (
        {
            "problem": "1+1?",
            "solution": r"\boxed{2}",
            "answer": "2",
            "subject": "Prealgebra",
            "level": 1,
            "unique_id": "test/prealgebra/12.json",
        },
        Problem("math500/test/prealgebra/12", "1+1?", "2", subject="Prealgebra", level="1"),
    ),
    "aime24": (
        {"id": 60, "problem": "n?", "solution": "", "answer": "033", "url": "u", "year": "2024"},
        Problem("aime24/60", "n?", "33"),
    ),
    "aime25": ({"problem": "m?", "answer": "70", "id": "0"}, Problem("aime25/0", "m?", "70")),
    "amc23": (
        {"id": 3, "question": "k?", "answer": 27.0, "url": "u"},
        Problem("amc23/3", "k?", "27"),
    ),
    "olympiadbench": (
        {"id": 1606, "question": "x?", "final_answer": ["$1$", "$2$"], "subfield": "Algebra"},
        Problem("olympiadbench/1606", "x?", "1, 2", subject="Algebra"),
    ),
    "svamp": (
        {
            "ID": "chal-1",
            "Body": "Ann has 3.",
            "Question": "Bob has 2. Both?",
            "Equation": "( 3.0 + 2.0 )",
            "Answer": "5.0",
            "Type": "Addition",
        },
        Problem("svamp/chal-1", "Ann has 3. Bob has 2. Both?", "5", subject="Addition"),
    ),
    "mbpp": (
        {
            "task_id": 11,
            "text": "Write a function to double.",
            "code": "def double(x):\n    return 2*x",
            "test_list": ["assert double(2) == 4", "assert double(0) == 0"],
            "test_setup_code": "",
            "challenge_test_list": [],
        },
        Problem(
            "mbpp/11",
            "Write a function to double.\nYour code should pass these tests:\n"
            "assert double(2) == 4\nassert double(0) == 0",
            "def double(x):\n    return 2*x",
            kind="code",
            tests=("assert double(2) == 4", "assert double(0) == 0"),
        ),
    ),
    "humaneval": (
        {
            "task_id": "HumanEval/7",
            "prompt": "def double(x):\n",
            "canonical_solution": "    return 2*x\n",
            "test": CHECK,
            "entry_point": "double",
        },
        Problem(
            "humaneval/7",
            "def double(x):\n",
            "    return 2*x\n",
            kind="code",
            tests=(CHECK,),
            entry_point="double",
        ),
    ),
}
REPOSITORIES = {
    "gsm8k": ("openai/gsm8k", "main", "test"),
    "math500": ("HuggingFaceH4/MATH-500", None, "test"),
    "aime24": ("HuggingFaceH4/aime_2024", None, "train"),
    "aime25": ("math-ai/aime25", None, "test"),
    "amc23": ("math-ai/amc23", None, "test"),
    "olympiadbench": ("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train"),
    "svamp": ("ChilleD/SVAMP", None, "test"),
    "mbpp": ("google-research-datasets/mbpp", "full", "test"),
    "humaneval": ("openai/openai_humaneval", None, "test"),
}


def same(one: Problem, other: Problem) -> None:
    """Equal in all that is compared with; what is carried along is not."""
    for field in ("question", "answer", "kind", "subject", "level", "tests", "entry_point"):
        assert getattr(one, field) == getattr(other, field), field


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    """What was asked of the hub, which gives two equal records but for their ids."""
    calls: list[tuple[str, str | None, str]] = []

    def load_dataset(path: str, name: str | None = None, *, split: str) -> datasets.Dataset:
        calls.append((path, name, split))
        record, _ = next(
            RECORDS[n] for n, data in known.DATA_SETS.items() if data.repository == path
        )
        return datasets.Dataset.from_list([record])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


@pytest.mark.parametrize("name", REPOSITORIES)
def test_by_name(name: str, asked: list[tuple[str, str | None, str]]):
    (problem,) = problems.load(name)
    expected = RECORDS[name][1]
    same(problem, expected)
    assert (problem.id, problem.source) == (expected.id, name)
    assert asked == [REPOSITORIES[name]]


def test_every_known_data_set_is_tested():
    assert set(RECORDS) == set(known.DATA_SETS) == {*REPOSITORIES, "math"}


def test_the_subjects_of_math_are_counted_through(asked: list[tuple[str, str | None, str]]):
    loaded = problems.load("math", split="train", limit=6)
    assert [problem.id for problem in loaded] == [f"math/train/{n}" for n in range(6)]
    assert {path for path, _, _ in asked} == {"EleutherAI/hendrycks_math"}
    assert [config for _, config, _ in asked] == [
        "algebra",
        "counting_and_probability",
        "geometry",
        "intermediate_algebra",
        "number_theory",
        "prealgebra",
        "precalculus",
    ]


def test_a_split_that_is_not_there_is_refused(asked: list[tuple[str, str | None, str]]):
    with pytest.raises(ValueError, match="gsm8k has no split 'validation'; it has train, test"):
        problems.load("gsm8k", split="validation")
    assert asked == []
    assert problems.load("mbpp", split="validation")[0].id == "mbpp/11"
    assert asked[-1][2] == "validation"


#: AIME's records have the names of ours, and an id: they are taken as they stand.
@pytest.mark.parametrize("name", sorted(set(RECORDS) - {"aime24", "aime25"}))
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_file_in_its_own_form_is_recognised(name: str, ending: str, tmp_path: Path):
    record, expected = RECORDS[name]
    path = tmp_path / f"any.{ending}"
    if ending == "jsonl":
        path.write_text("\n" + json.dumps(record) + "\n")
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([record]), path)
    (problem,) = problems.load(str(path))
    same(problem, expected)
    assert problem.source == name
    line = "2" if ending == "jsonl" else "1"
    own = {"gsm8k": f"gsm8k/{line}", "math": f"math/{line}", "amc23": "3", "olympiadbench": "1606"}
    assert problem.id == own.get(name, expected.id)


def test_the_sanitized_form_of_mbpp(tmp_path: Path):
    record, expected = RECORDS["mbpp"]
    record = {
        field: value for field, value in record.items() if field not in ("text", "test_setup_code")
    }
    record |= {
        "prompt": "Write a function to double.",
        "test_imports": ["import math", "import re"],
    }
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(record))
    (problem,) = problems.load(str(path))
    same(problem, expected)
    assert problem.test_setup == "import math\nimport re"


def test_what_was_not_used_is_carried_along(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**RECORDS["gsm8k"][0], "origin": "book 3"}))
    (problem,) = problems.load(str(path))
    assert problem.extra["origin"] == "book 3"
    assert problem.extra["solution"] == "6*7=42"


def test_a_mapping_is_taken_at_its_word(tmp_path: Path):
    record, _ = RECORDS["gsm8k"]
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": "a", **record}))
    (problem,) = problems.load(str(path), mapping={"problem": "question"})
    assert (problem.id, problem.answer) == ("a", record["answer"])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"question": "x", "answer": "5"}, r":1: the field 'problem' is missing"),
        ({"question": "x", "final_answer": []}, r":1: final_answer: needed one or more"),
        (
            {"problem": "x", "level": "Level 1", "type": "t", "solution": "none"},
            r":1: solution: needed a \\boxed",
        ),
        ({"Body": "x", "Question": "y", "Answer": None}, r":1: Answer: needed a number"),
        (
            {"task_id": 1, "text": "x", "code": "y", "test_list": "assert f()"},
            r":1: tests must be a list, got str",
        ),
    ],
)
def test_records_that_only_look_like_it_are_refused(
    record: dict[str, object], message: str, tmp_path: Path
):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=message):
        problems.load(str(path))


def test_a_repository_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch):
    records = datasets.Dataset.from_list([{"question": "x", "solution": "y"}])
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **named: records)
    with pytest.raises(ValueError, match=r"gsm8k\[test\]:0: gsm8k has a field 'answer', this"):
        problems.load("gsm8k")


@pytest.mark.parametrize(
    ("name", "given", "answer"),
    [
        ("math", {"answer": "5"}, "5"),
        ("math", {"answer": 5}, "5"),
        ("math", {"answer": "5", "solution": "No box."}, "5"),
        ("math", {"answer": None}, r"\frac{1}{2}"),
        ("math", {"id": "a", "answer": None}, r"\frac{1}{2}"),
        ("olympiadbench", {"answer": "7"}, "7"),
        ("svamp", {"answer": "7"}, "7"),
    ],
)
def test_an_answer_that_is_given_counts_before_one_that_is_found(
    tmp_path: Path, name: str, given: dict[str, object], answer: str
) -> None:
    record, _ = RECORDS[name]
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(record | given) + "\n", encoding="utf-8")
    (problem,) = problems.load(str(path))
    assert problem.answer == answer
    assert problem.source == name


def test_a_solution_without_a_box_and_without_an_answer_is_named(tmp_path: Path) -> None:
    record, _ = RECORDS["math"]
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(record | {"solution": "No box."}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"p\.jsonl:1: solution: needed a \\boxed"):
        problems.load(str(path))
    path.write_text(json.dumps(record | {"answer": ""}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"p\.jsonl:1: answer is empty"):
        problems.load(str(path))
