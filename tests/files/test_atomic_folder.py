"""A folder is the old one, the new one, or absent, at whatever moment its writer is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from acim_jax.files import atomic_folder

OLD, NEW = {"a": "old a", "b": "old b"}, {"a": "new a", "c": "new c", "deep/d": "new d"}

#: Replaces a folder in one forked child after another; the k-th kills itself when it is about to
#: touch the file system for the k-th time. Ends after the first child that gets through.
CHILD = """
import json, os, signal, sys
from pathlib import Path
from acim_jax.files import atomic_folder
folder, content = Path(sys.argv[1]), json.loads(sys.argv[2])
touching = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.scandir")
left = -1
def audit(event, arguments):
    global left
    if left >= 0 and event in touching:
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
sys.addaudithook(audit)
def replace():
    with atomic_folder.replacing(folder) as made:
        for name, text in content.items():
            (made / name).parent.mkdir(exist_ok=True)
            (made / name).write_text(text)
for moment in range(1000):
    child = os.fork()
    if child == 0:
        left = moment
        replace()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(moment, status, flush=True)
    sys.stdin.readline()
    if status == 0:
        break
"""


def content_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def write(folder: Path, content: dict[str, str]) -> None:
    with atomic_folder.replacing(folder) as made:
        for name, text in content.items():
            (made / name).parent.mkdir(exist_ok=True)
            (made / name).write_text(text)


@pytest.mark.parametrize("replaced", [True, False])
def test_killed_at_every_touch_of_the_file_system(tmp_path: Path, replaced: bool):
    folder = tmp_path / "out"
    if replaced:
        write(folder, OLD)
    command = [sys.executable, "-c", CHILD, str(folder), json.dumps(NEW)]
    seen, left_over, killed = set(), 0, 0
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in process.stdout:
            moment, status = map(int, line.split())
            killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            found = content_of(folder) if folder.exists() else None
            seen.add("absent" if found is None else "old" if found == OLD else "new")
            assert found in ([None, OLD, NEW] if replaced else [None, NEW]), moment
            others = [path.name for path in tmp_path.iterdir() if path != folder]
            assert len(others) <= 1 and all(n.startswith(".out.partial-") for n in others)
            left_over += len(others)
            if replaced and found is None:
                write(folder, OLD)  # the next replacement cleans up
                assert [path.name for path in tmp_path.iterdir()] == ["out"]
            process.stdin.write("\n")
            process.stdin.flush()
    assert killed > 20 and left_over > 15
    assert seen == ({"absent", "old", "new"} if replaced else {"absent", "new"})
    assert content_of(folder) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path: Path):
    folder = tmp_path / "out"
    write(folder, OLD)
    with pytest.raises(KeyError), atomic_folder.replacing(folder) as made:
        (made / "a").write_text("new")
        raise KeyError
    assert content_of(folder) == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "out"
    write(folder, OLD)
    rename = os.replace

    def fail(source: Path, target: Path) -> None:
        if source.name == "model":
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        write(folder, NEW)
    assert content_of(folder) == OLD


def test_a_living_writers_folder_is_left_alone(tmp_path: Path):
    folder = tmp_path / "out"
    (tmp_path / ".outer.partial-x").mkdir()
    with atomic_folder.replacing(folder) as first:
        (first / "a").write_text("first")
        write(folder, OLD)
        assert content_of(folder) == OLD
    assert content_of(folder) == {"a": "first"}
    assert {path.name for path in tmp_path.iterdir()} == {"out", ".outer.partial-x"}


def test_others_may_read_the_folder_as_the_umask_says(tmp_path: Path):
    (tmp_path / "plain").mkdir()
    write(tmp_path / "out", NEW)
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode
