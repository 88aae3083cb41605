"""Sums and counts, and metrics.jsonl through crashes and resumes."""

import errno
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from tensorboardX import record_writer
from tensorboardX.proto import event_pb2

from acim_jax.run import metrics, trackers


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_is_valid_json_whatever_the_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = {
        "train/loss": np.float32(np.nan),
        "train/kl": np.inf,
        "train/lr": np.float32(0.5),
        "explore/reward": None,
        "eval/n": np.int64(3),
    }
    with (
        caplog.at_level(logging.WARNING),
        metrics.MetricsWriter(tmp_path) as writer,
    ):
        writer.write(1, values)
        with pytest.raises(TypeError, match="train/bad must be a number"):
            writer.write(2, {"train/bad": [1]})
    expected = {
        "iteration": 1, "train/loss": None, "train/kl": None, "train/lr": 0.5,
        "explore/reward": None, "eval/n": 3, "nonfinite": ["train/loss", "train/kl"],
    }  # fmt: skip
    assert lines(tmp_path) == [expected]
    assert "iteration 1: not finite: train/loss, train/kl" in caplog.text


def test_resume_cuts_later_and_half_written_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 0}\n{"iteration": 1, "x": 2}\n{"iteration": 2}\n{"itera')
    assert [row["iteration"] for row in metrics.read(path)] == [0, 1, 2]
    with metrics.MetricsWriter(tmp_path, after=1) as writer:
        writer.write(2, {"x": 3})
    assert lines(tmp_path) == [
        {"iteration": 0},
        {"iteration": 1, "x": 2},
        {"iteration": 2, "x": 3},
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl"]


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 0}\nnonsense\n{"iteration": 2}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl:2: not a JSON object"):
        metrics.truncate_after(path, 1)
    assert "nonsense" in path.read_text()
    metrics.truncate_after(tmp_path / "absent.jsonl", 1)
    assert not (tmp_path / "absent.jsonl").exists()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Points per tag in all event files, read by TensorBoard's record format."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[12 + size + 4 :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def mirrored(folder: Path, after: int = -1) -> metrics.MetricsWriter:
    opened = trackers.opened(["tensorboard"], folder, "", {}, first=after + 1)
    return metrics.MetricsWriter(folder, opened, after=after)


def test_numbers_reach_tensorboard(tmp_path: Path) -> None:
    with mirrored(tmp_path) as writer:
        writer.write(1, {"train/loss": 0.5, "eval/n": None})
        writer.write(2, {"train/loss": 0.25, "eval/n": 7})
    assert scalars(tmp_path) == {"train/loss": [(1, 0.5), (2, 0.25)], "eval/n": [(2, 7.0)]}


def test_a_full_disk_ends_a_line_instead_of_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    many = {f"train/{i}": i for i in range(50)}
    with pytest.raises(OSError) as failed, mirrored(tmp_path) as writer:
        writer.write(1, many)
        monkeypatch.setattr(record_writer.RecordWriter, "flush", full)
        writer.write(2, many)
    assert failed.value.filename == str(tmp_path / "events")
    monkeypatch.undo()
    with pytest.raises(OSError) as failed, mirrored(tmp_path, after=1) as writer:
        monkeypatch.setattr(os, "fsync", full)
        writer.write(2, many)
    assert failed.value.filename in (str(tmp_path / "metrics.jsonl"), str(tmp_path / "events"))
