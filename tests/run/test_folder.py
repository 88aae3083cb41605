"""Run folders: what may become one, the lock, and the manifest on resume."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from acim_jax.run import folder as run_folder
from acim_jax.run import manifest as manifests


def manifest(*data: Path) -> manifests.Manifest:
    return manifests.collect(
        data_files=data,
        devices=["TFRT_CPU_0"],
        command=["acim", "train", "c.yaml"],
        executor={"protection": "isolated"},
    )


def test_create_then_resume_names_what_changed(tmp_path: Path) -> None:
    kept, edited, gone = (tmp_path / name for name in ("kept", "edited", "gone"))
    for path in (kept, edited, gone):
        path.write_text("abc")
    run = tmp_path / "run"
    with run_folder.create(run, "seed: 3\n", manifest(kept, edited, gone)) as folder:
        assert (run / "config.yaml").read_text() == "seed: 3\n"
        assert folder.episodes(7).name == "iteration_0007.jsonl"
        assert folder.episodes(7).parent.is_dir() and folder.evaluation("start").parent.is_dir()
    stored = json.loads((run / "manifest.json").read_text())
    # sha256("abc"), FIPS 180-4, appendix B.1
    assert stored["data"][str(kept)].startswith("ba7816bf8f01cfea414140de5dae2223")
    stored["packages"]["jax"] = "0.0.1"
    (run / "manifest.json").write_text(json.dumps(stored))
    edited.write_text("abd")
    gone.unlink()

    with run_folder.resume(
        run,
        devices=["TFRT_CPU_0", "TFRT_CPU_1"],
        command=["acim"],
        executor={"protection": "filtered"},
    ) as folder:
        changes = folder.changes
    now = manifests.package_versions()["jax"]
    assert changes == (
        f"package jax was 0.0.1, is {now}",
        f"file {edited} changed (sha256 ba7816bf to a52d159f)",
        f"file {gone} is gone",
        "devices were TFRT_CPU_0, are TFRT_CPU_0, TFRT_CPU_1",
        "the executor's protection was isolated, is filtered",
    )
    assert json.loads((run / "manifest.json").read_text())["resumed"][0]["changes"] == list(changes)


def test_an_edited_config_is_named_beside_what_else_changed(tmp_path: Path) -> None:
    begun = {"improve": {"lr": 3e-4, "buckets": (64, 144)}, "run": {"iterations": 3}, "gone": 1}
    edited = {"improve": {"lr": 1e-4, "buckets": [64]}, "run": {"iterations": 3}, "added": 1}
    made = dataclasses.replace(manifest(), config=begun)
    with run_folder.create(tmp_path / "run", "", made):
        pass
    said: list[tuple[str, ...]] = []
    for config in (edited, begun, None):
        with run_folder.resume(
            tmp_path / "run",
            devices=made.devices,
            command=[],
            executor=made.executor,
            config=config,
        ) as folder:
            said.append(folder.changes)
    changes = (
        "config improve.lr was 0.0003, is 0.0001",
        "config improve.buckets was [64, 144], is [64]",
    )
    assert said == [changes, (), ()]
    resumed = json.loads((tmp_path / "run" / "manifest.json").read_text())["resumed"]
    assert [one["changes"] for one in resumed] == [list(changes), [], []]
    assert resumed[0]["config"]["improve"]["lr"] == 1e-4


def test_a_manifest_without_a_config_is_of_an_earlier_version(tmp_path: Path) -> None:
    with run_folder.create(tmp_path / "run", "", manifest()):
        pass
    file = tmp_path / "run" / "manifest.json"
    stored = json.loads(file.read_text())
    del stored["config"]
    file.write_text(json.dumps(stored))
    assert run_folder.read_manifest(tmp_path / "run").config is None


def test_only_free_or_half_made_folders_become_a_run(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match="is a file"), run_folder.create(file, "", manifest()):
        pass
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"holds thesis.tex"):
        run_folder.create(other, "", manifest()).__enter__()
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]

    half = tmp_path / "half"
    half.mkdir()
    (half / "config.yaml").write_text("seed: 1\n")
    (half / ".manifest.json.x1.partial").write_text("{")
    with pytest.raises(ValueError, match="never finished"):
        run_folder.read_manifest(half)
    with run_folder.create(half, "seed: 2\n", manifest()):
        assert (half / "config.yaml").read_text() == "seed: 2\n"
    with pytest.raises(ValueError, match=r"already holds a run: --resume"):
        run_folder.create(half, "", manifest()).__enter__()
    with pytest.raises(FileNotFoundError, match="no such run folder"):
        run_folder.read_manifest(tmp_path / "absent")


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    with run_folder.create(tmp_path / "run", "", manifest()):
        pass
    (tmp_path / "run" / "manifest.json").write_text('{\n"started": "x",\n')
    with pytest.raises(ValueError, match=r"manifest.json:3: not valid JSON"):
        run_folder.read_manifest(tmp_path / "run")
    (tmp_path / "run" / "manifest.json").write_text('{"started": "x"}')
    with pytest.raises(ValueError, match=r"manifest.json: lacks command, commit, data"):
        run_folder.read_manifest(tmp_path / "run")


HOLDER = """
import sys
from pathlib import Path
from acim_jax.run import folder as run_folder
with run_folder.resume(Path(sys.argv[1]), devices=[], command=[], executor={}):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_folder_in_use_says_by_whom_and_a_kill_frees_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with run_folder.create(run, "", manifest()):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match=rf"in use by process {holder.pid} on "):
            run_folder.resume(run, devices=[], command=[], executor={}).__enter__()
        os.kill(holder.pid, signal.SIGKILL)
    with run_folder.resume(run, devices=[], command=[], executor={}):
        assert run_folder.read_manifest(run).command == ("acim", "train", "c.yaml")


def test_the_host_side_stays_free_of_jax() -> None:
    code = "import sys, acim_jax.run.folder; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
