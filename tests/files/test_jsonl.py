import gzip
import os
from pathlib import Path

import pytest

from acim_jax.files import jsonl

ROWS = [{"id": "a", "text": "naïve\u2028東京\n"}, {"id": "b", "n": [1, 2.5, None]}]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_come_back_with_their_lines(tmp_path: Path, name: str) -> None:
    jsonl.write(tmp_path / name, ROWS)
    assert jsonl.read(tmp_path / name) == [(1, ROWS[0]), (2, ROWS[1])]
    assert os.listdir(tmp_path) == [name]


def test_empty_lines_count_but_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n\n  \n{"id": 2}')
    assert jsonl.read(path) == [(1, {"id": 1}), (4, {"id": 2})]


def test_a_growing_file_may_end_in_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "grows.jsonl"
    path.write_text(jsonl.line({"id": 1}) + jsonl.line({"id": 2})[:-1])
    assert jsonl.read(path, growing=True) == [(1, {"id": 1})]
    path.write_text(jsonl.line({"id": 1}) + '{"id"')
    assert jsonl.read(path, growing=True) == [(1, {"id": 1})]
    with pytest.raises(ValueError, match=r"grows\.jsonl:2: not a JSON object"):
        jsonl.read(path)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b'{"id": 1', "not a JSON object"),
        (b"[1, 2]", "needed a JSON object, got list"),
        (b'{"id": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not a JSON object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, part: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"id": 0}\n\n' + line + b"\n")
    with pytest.raises(ValueError) as raised:
        jsonl.read(path)
    assert str(raised.value).startswith(f"{path}:3: ") and part in str(raised.value)


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": 1}\n' * 100)[:-9])
    with pytest.raises(ValueError, match=r"cut\.jsonl\.gz is not a whole gzip file"):
        jsonl.read(path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl does not exist"):
        jsonl.read(tmp_path / "none.jsonl")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        jsonl.read(tmp_path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    jsonl.write(path, ROWS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        jsonl.write(path, [{"id": "c"}, {"value": float("nan")}])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [name]


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        jsonl.write(tmp_path / name, ROWS)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
