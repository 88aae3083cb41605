"""A file is the old one or the new one, whatever happens while it is written."""

import os
from pathlib import Path

import pytest

from acim_jax.files import atomic


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "naïve\n")
    with pytest.raises(KeyError), atomic.replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "naïve\n"
        raise KeyError
    assert path.read_text() == "naïve\n"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_others_may_read_the_file_as_the_umask_says(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    atomic.write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
