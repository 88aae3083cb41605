import gzip
import json
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from acim_jax.data import generated, problem_records, problems
from acim_jax.data.config import DataConfig
from acim_jax.records import Problem

#: Real problem files: $ACIM_REAL_DATA, or `shared/data` beside the checkout.
REAL = Path(os.environ.get("ACIM_REAL_DATA", str(Path(__file__).parents[3] / "shared" / "data")))


def lines(path: Path, *records: object) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def test_a_whole_record(tmp_path: Path) -> None:
    record = {
        "id": 7,
        "problem": "2 + 2?",
        "answer": 4,
        "level": 1,
        "subject": "sums",
        "source": "me",
        "pass_rates": {"small": 1, "big": 0.25},
        "solution": "count",
        "test_setup": None,
    }
    assert problems.load(lines(tmp_path / "p.jsonl", record)) == [
        Problem(
            id="7",
            question="2 + 2?",
            answer="4",
            source="me",
            subject="sums",
            level="1",
            extra={"pass_rates": {"small": 1, "big": 0.25}, "solution": "count"},
        )
    ]


def test_records_with_tests_are_code_problems(tmp_path: Path) -> None:
    record = {"id": "a", "problem": "Write f.", "tests": ["assert f(1)"], "entry_point": "f"}
    (problem,) = problems.load(lines(tmp_path / "p.jsonl", record))
    assert (problem.kind, problem.tests, problem.entry_point) == ("code", ("assert f(1)",), "f")
    assert problem.answer == ""


def test_other_names_are_mapped(tmp_path: Path) -> None:
    record = {"id": "a", "question": "1 + 1?", "gold": "2", "problem": "kept"}
    source = lines(tmp_path / "p.jsonl", record)
    (problem,) = problems.load(source, mapping={"problem": "question", "answer": "gold"})
    assert (problem.question, problem.answer) == ("1 + 1?", "2")
    assert problem.extra == {"problem": "kept"}


GOOD = {"id": "a", "problem": "1 + 1?", "answer": "2"}


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"id": "b", "problem": "x"}, "the field 'answer' is missing; the record has id, problem"),
        ({"id": "b", "answer": "2"}, "the field 'problem' is missing"),
        ({"problem": "x", "answer": "2"}, "the field 'id' is missing"),
        ({"id": "b", "problem": ["x"], "answer": "2"}, "problem must be a string, got list"),
        ({"id": "b", "problem": " ", "answer": "2"}, "problem is empty"),
        ({"id": "b", "problem": "x", "answer": 0.5}, "answer must be a string, got float"),
        ({"id": "b", "problem": "x", "answer": True}, "answer must be a string, got bool"),
        ({"id": "b", "problem": "x", "answer": None}, "the field 'answer' is missing"),
        ({"id": "b", "problem": "x", "answer": ""}, "answer is empty"),
        ({"id": "b", "problem": "x", "answer": " \n"}, "answer is empty"),
        ({**GOOD, "id": "b", "kind": "maths"}, "kind must be 'math' or 'code', got 'maths'"),
        ({**GOOD, "id": "b", "kind": "code"}, "a code problem needs tests"),
        ({**GOOD, "id": "b", "tests": "assert"}, "tests must be a list, got str"),
        ({**GOOD, "id": "b", "tests": ["a", 1]}, "tests[1] must be a string, got int"),
        ({**GOOD, "id": "b", "subject": 3}, "subject must be a string, got int"),
        ({**GOOD, "id": "a"}, "id 'a' was used at"),
        ({**GOOD, "id": "b", "problem": "\ud83d"}, "'problem' holds half a surrogate pair"),
        ({**GOOD, "id": "b", "tests": ["\udc00"]}, "'tests' holds half a surrogate pair"),
        ({**GOOD, "id": "b", "note": {"a": ["\ud83d"]}}, "'note' holds half a surrogate pair"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, record: dict[str, object], part: str) -> None:
    source = lines(tmp_path / "p.jsonl", GOOD, record)
    with pytest.raises(ValueError) as raised:
        # The bad record lies beyond the limit: it is refused all the same.
        problems.load(source, limit=1)
    assert str(raised.value).startswith(f"{source}:2: ") and part in str(raised.value)


def test_an_empty_answer_is_named_as_the_file_names_it(tmp_path: Path) -> None:
    source = lines(tmp_path / "p.jsonl", {"id": "a", "problem": "x", "gold": ""})
    with pytest.raises(ValueError, match=r"p\.jsonl:1: gold is empty"):
        problems.load(source, mapping={"answer": "gold"})


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("Multiply: 5 * 4. So \\boxed{20}.", "20"),
        ("First \\boxed{3}, then $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("\\boxed{20}", "20"),
        # Without a box it is taken as it is.
        ("5*4=<<5*4=20>>20\n#### 1,020", "5*4=<<5*4=20>>20\n#### 1,020"),
        ("\\boxed{3}, no: \\boxed{}", "\\boxed{3}, no: \\boxed{}"),
        ("It is \\boxed{20", "It is \\boxed{20"),
        ("It is 20.", "It is 20."),
    ],
)
def test_a_worked_solution_as_answer_is_read_by_its_box(
    tmp_path: Path, solution: str, answer: str
) -> None:
    source = lines(tmp_path / "p.jsonl", {"id": "a", "problem": "5*4?", "solution": solution})
    (problem,) = problems.load(source, mapping={"answer": "solution"})
    assert problem.answer == answer
    source = lines(tmp_path / "q.jsonl", {"id": "a", "problem": "5*4?", "answer": solution})
    assert problems.load(source)[0].answer == answer


def test_a_problem_is_written_as_it_was_read(tmp_path: Path) -> None:
    records = [
        {"id": "a", "problem": "2 + 2?", "answer": "4", "kind": "math", "level": "1", "x": [None]},
        {"id": "b", "problem": "Write f.", "answer": "def f(): ...", "kind": "code",
         "tests": ["assert f()", {"input": "1\n", "output": "2\n"}], "test_setup": "import math",
         "entry_point": "f", "subject": "s", "source": "me"},
    ]  # fmt: skip
    read = problems.load(lines(tmp_path / "p.jsonl", *records))
    assert [problem_records.of_problem(problem) for problem in read] == records


def test_limit_takes_the_first(tmp_path: Path) -> None:
    records = [{**GOOD, "id": str(n)} for n in range(5)]
    loaded = problems.load(lines(tmp_path / "p.jsonl", *records), limit=3)
    assert [p.id for p in loaded] == ["0", "1", "2"]


def test_gzip_and_parquet_say_the_same(tmp_path: Path) -> None:
    records = [{**GOOD, "id": str(n), "extra": n} for n in range(3)]
    plain = lines(tmp_path / "p.jsonl", *records)
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    table = tmp_path / "p.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), table)
    assert problems.load(str(packed)) == problems.load(plain) == problems.load(str(table))


def test_parquet_records_without_ids_are_numbered(tmp_path: Path) -> None:
    table = tmp_path / "p.parquet"
    records = [{"problem": "1?", "answer": "1"}, {"problem": "2?", "answer": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records[:1] * 2), table)
    assert [p.id for p in problems.load(str(table))] == ["1", "2"]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), table)
    with pytest.raises(ValueError, match=r"p\.parquet:2: the field 'answer' is missing"):
        problems.load(str(table))
    table.write_bytes(b"not parquet")
    with pytest.raises(ValueError, match="not a readable parquet file"):
        problems.load(str(table))


@pytest.mark.parametrize(
    ("source", "limit", "error", "part"),
    [
        ("none.jsonl", None, FileNotFoundError, "none.jsonl does not exist"),
        ("none.parquet", None, FileNotFoundError, "none.parquet does not exist"),
        ("table.csv", None, ValueError, "table.csv: problems come as .jsonl"),
        ("gsm8k", None, FileNotFoundError, "'gsm8k' is openai/gsm8k, configuration main, split"),
        ("who/what", None, FileNotFoundError, "'who/what' is neither a file nor a data set"),
        ("generated:arithmetic", None, ValueError, "has no end"),
        ("generated:geometry", 3, ValueError, "generated problems are arithmetic"),
        ("generated:arithmetic", 0, ValueError, "must be at least 1, got 0"),
    ],
)
def test_bad_sources_are_refused(
    source: str,
    limit: int | None,
    error: type[Exception],
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(error, match=part):
        problems.load(source, limit=limit)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no problems"):
        problems.load(lines(tmp_path / "p.jsonl"))


def test_a_mapping_to_no_field_of_ours_is_refused(tmp_path: Path) -> None:
    source = lines(tmp_path / "p.jsonl", GOOD)
    with pytest.raises(ValueError, match="no field 'question'"):
        problems.load(source, mapping={"question": "problem"})
    with pytest.raises(ValueError, match="reads one column twice"):
        problems.load(source, mapping={"problem": "q", "answer": "q"})


def test_splits_of_a_config(tmp_path: Path) -> None:
    source = lines(tmp_path / "p.jsonl", GOOD, {**GOOD, "id": "b"})
    config = DataConfig(test=(source, "generated:arithmetic"), num_test=4, seed=3)
    loaded = problems.load_split(config, "test")
    assert [p.id for p in loaded[:2]] == ["a", "b"]
    assert loaded[2:] == generated.generate("test", 4, seed=3)
    twice = DataConfig(validation=(source, source))
    with pytest.raises(ValueError, match=r"data\.validation: id 'a' stands in"):
        problems.load_split(twice, "validation")


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"train": ()}, "train needs at least one source"),
        ({"num_test": 0}, "(?s)num_test.*greater than or equal to 1"),
        ({"num_train": None}, "num_train must say how many of 'generated:arithmetic'"),
        ({"mapping": {"prompt": "q"}}, "no field 'prompt'"),
    ],
)
def test_contradictions_of_a_config_are_refused(fields: dict[str, object], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        DataConfig(**fields)  # pyright: ignore[reportArgumentType]


@pytest.mark.skipif(not REAL.is_dir(), reason="no real files: set ACIM_REAL_DATA")
@pytest.mark.parametrize(
    ("name", "count", "kind"),
    [
        ("svamp_test.jsonl", 1000, "math"),
        ("gsm8k_test.jsonl", 1319, "math"),
        ("gsm8k_train.jsonl.gz", 7473, "math"),
        ("math500_test.jsonl", 500, "math"),
        ("humaneval_test.jsonl", 164, "code"),
        ("mbpp.jsonl", 974, "code"),
    ],
)
def test_real_files_load(name: str, count: int, kind: str) -> None:
    loaded = problems.load(str(REAL / name))
    assert len({p.id for p in loaded}) == count
    assert {p.kind for p in loaded} == {kind}


def own(folder: Path, body: str) -> str:
    path = folder / "mine.py"
    path.write_text(f"def problems(split):\n{body}\n", encoding="utf-8")
    return f"{path}:problems"


def test_a_function_of_the_users_own_gives_the_records_of_a_split(tmp_path: Path) -> None:
    endless = own(
        tmp_path,
        "    n = 0\n    while True:\n        n += 1\n"
        "        yield {'question': f'{split} {n}?', 'answer': n, 'mine': n}",
    )
    mapping = {"problem": "question"}
    assert problems.load(endless, split="validation", limit=2, mapping=mapping) == [
        Problem("1", "validation 1?", "1", extra={"mine": 1}),
        Problem("2", "validation 2?", "2", extra={"mine": 2}),
    ]
    both = DataConfig(train=(endless, "generated:arithmetic"), num_train=3, mapping=mapping)
    assert [p.question for p in problems.load_split(both, "train")][:3] == [
        "train 1?", "train 2?", "train 3?",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    return [{'id': 1, 'problem': 'a?', 'answer': '1'}, {'id': 2}]",
         "mine.py:problems:2: the field 'problem' is missing"),
        ("    yield {'id': 1, 'problem': 'a?', 'answer': '1'}\n    yield 'text'",
         "mine.py:problems: TypeError: record 2 is a str; needed is a dict of fields, after 1 rec"),
        ("    yield {'id': 1, 'problem': 'a?', 'answer': '1'}\n    {}['gold']",
         "KeyError: 'gold' ({}/mine.py, line 3), after 1 records"),
        ("    pass", "mine.py:problems: TypeError: 'NoneType' object is not iterable"),
        ("    return []", "mine.py:problems holds no problems"),
    ],
)  # fmt: skip
def test_an_own_function_that_fails_is_named(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        problems.load(own(tmp_path, body))
    assert said.format(tmp_path) in str(refused.value)


def test_a_prefix_that_is_misspelt_is_no_module() -> None:
    with pytest.raises(ValueError, match=r"no module 'generatd'; .* did you mean generated:NAME\?"):
        problems.load("generatd:numbers", limit=1)


def test_a_file_without_the_name_of_its_function_is_refused(tmp_path: Path) -> None:
    source = own(tmp_path, "    return []").removesuffix(":problems")
    with pytest.raises(ValueError, match=r"or FILE\.py:FUNCTION"):
        problems.load(source)
