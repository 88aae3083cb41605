"""Places where nothing can be written are refused with nothing left behind."""

import errno
import os
from pathlib import Path

import pytest

from acim_jax.files import atomic, atomic_folder, failures, places


def test_a_folder_that_stands_or_can_be_made_is_taken_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "stands").mkdir()
    for path in (tmp_path / "stands", tmp_path / "a" / "b" / "c"):
        places.check_folder(path, "--out")
        places.check_replaceable(path, "--out")
        places.check_file(path / "x.jsonl", "--output")
    assert [path.name for path in tmp_path.rglob("*")] == ["stands"]


def test_relative_places_are_those_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    for path in ("new", "a/b", ".", "..", "../new"):
        places.check_folder(Path(path), "--out")
    places.check_file(Path("x.jsonl"), "--output")
    assert [path.name for path in tmp_path.rglob("*")] == ["inside"]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file", "--out {}/file is a file; name a folder."),
        ("file/x", "--out {0}/file/x: {0}/file is a file; name another folder."),
        ("file/x/y", "--out {0}/file/x/y: {0}/file is a file; name another folder."),
        ("nowhere-link", "--out {}/nowhere-link is a file; name a folder."),
        ("/dev/null/x", "--out /dev/null/x: /dev/null is a file; name another folder."),
    ],
)
def test_a_file_in_the_way_is_named(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "nowhere-link").symlink_to("nowhere")
    with pytest.raises(ValueError) as refused:
        places.check_folder(tmp_path / place, "--out")
    assert str(refused.value) == said.format(tmp_path)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="needs Linux's /proc")
def test_a_file_system_that_takes_no_folders_is_named() -> None:
    for check in (places.check_folder, places.check_replaceable):
        with pytest.raises(ValueError, match=r"^--out /proc/x: nothing can be written in /proc \("):
            check(Path("/proc/x"), "--out")
    with pytest.raises(ValueError, match=r"^--out /proc/x\.html: nothing can be written in /proc"):
        places.check_file(Path("/proc/x.html"), "--out")
    with pytest.raises(ValueError, match="/proc"):
        places.check_replaceable(Path("/proc"), "--out")


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ValueError, OSError), match=r"(?i)file name too long"):
        places.check_folder(tmp_path / ("n" * 300), "--out")


def test_devices_are_not_replaced() -> None:
    with pytest.raises(ValueError, match=r"^--output /dev/null is no file"):
        places.check_file(Path("/dev/null"), "--output")


def test_a_mount_point_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path)
    with pytest.raises(ValueError, match="is a mount point; name a folder in it"):
        places.check_replaceable(tmp_path, "--out")
    places.check_replaceable(tmp_path / "inside", "--out")


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_names_the_file_that_was_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as failed:
        atomic.write_text(path, "new")
    assert (failed.value.errno, failed.value.filename) == (errno.ENOSPC, str(path))
    with pytest.raises(OSError) as failed, atomic_folder.replacing(tmp_path / "model") as made:
        (made / "config.json").write_text("{}")
    assert (failed.value.errno, failed.value.filename) == (errno.ENOSPC, str(tmp_path / "model"))
    assert (os.listdir(tmp_path), path.read_text()) == (["a.jsonl"], "old")


def test_only_the_unfinished_file_takes_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for named, wanted in (
        (None, path), (tmp_path / ".a.x1.partial", path), (tmp_path / "b", tmp_path / "b")
    ):  # fmt: skip
        with pytest.raises(OSError) as failed, failures.naming(path):
            raise OSError(errno.ENOSPC, "No space left on device", named and str(named))
        assert failed.value.filename == str(wanted)
