"""The scratch folder is empty afterwards, whatever was in it."""

import os
from pathlib import Path

import pytest

from acim_jax.environment import scratch


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that must stay as it is."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    made.mkdir(mode=0o700)
    return made


def test_links_are_removed_and_not_followed(folder: Path, outside: Path) -> None:
    (folder / "a").symlink_to(outside)
    (folder / "d").mkdir()
    (folder / "d" / "b").symlink_to(outside)
    (folder / "d" / "c").symlink_to("c")
    os.link(outside / "kept", folder / "d" / "hard")
    scratch.empty(str(folder))
    assert list(folder.iterdir()) == []
    assert (outside / "kept").read_text() == "kept"


def test_closed_and_special_files_are_removed(folder: Path) -> None:
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "a" / "b" / "f").write_text("x")
    os.mkfifo(folder / "a" / "pipe")
    for closed in ("a/b/c", "a/b", "a", "."):
        (folder / closed).chmod(0)
    scratch.empty(str(folder))
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_folders_deeper_than_any_path_are_removed(folder: Path) -> None:
    here = os.open(folder, os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d" * 40, dir_fd=here)
        inner = os.open("d" * 40, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    scratch.empty(str(folder))
    assert list(folder.iterdir()) == []


def test_size_counts_what_lies_on_the_disk(folder: Path, outside: Path) -> None:
    (folder / "d").mkdir()
    (folder / "d" / "f").write_bytes(b"x" * 100_000)
    with (folder / "hole").open("wb") as file:
        file.truncate(1 << 40)
    (folder / "link").symlink_to(outside)
    used, count = scratch.size(str(folder), 100)
    assert count == 4
    assert 100_000 <= used < 1_000_000


def test_counting_ends_soon_after_the_limit(folder: Path) -> None:
    for i in range(20):
        (folder / str(i)).mkdir()
        (folder / str(i) / "f").write_text("")
    assert 5 < scratch.size(str(folder), 5)[1] <= 22


def test_removing_takes_the_folder_above_with_the_last(tmp_path: Path) -> None:
    one, two = tmp_path / "root" / "one", tmp_path / "root" / "two"
    for each in (one, two):
        each.mkdir(parents=True)
    scratch.remove(str(one))
    assert not one.exists() and two.exists()
    scratch.remove(str(two))
    assert not (tmp_path / "root").exists()
