"""Host memory of import and export, measured from outside: the model, and little beside it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench_import.py"


def measured(*arguments: str) -> dict[int, dict[str, Any]]:
    """What the benchmark prints about the memory, by the number of devices; it must exit with 0."""
    done = subprocess.run(
        [sys.executable, str(BENCH), *arguments], stdout=subprocess.PIPE, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["devices"]: row for row in rows}


@pytest.mark.skipif(sys.platform != "linux", reason="anonymous memory is read from /proc")
def test_a_stacked_parameter_is_never_held_twice(tmp_path: Path):
    """16 layers of 256 × 16384: three parameters of 134 MB each in a model of 409 MB."""
    layers, hidden, intermediate, heads, vocabulary = 16, 256, 16384, 4, 1000
    stacked = layers * hidden * intermediate * 2
    shape = f"{layers},{hidden},{intermediate},{heads},{vocabulary}"
    found = measured("--shape", shape, "--no-time", "--slack-mb", "400", "--scratch", str(tmp_path))
    assert found.keys() == {1, 8}
    for row in found.values():
        assert row["model"] > 3 * stacked
        assert row["peak"] - row["baseline"] < row["model"] + 0.75 * stacked
        # One file as a whole would be the model a second time.
        assert row["export_peak"] - row["baseline"] < 1.5 * row["model"]
    norms = (2 * layers + 1) * hidden * 2
    assert found[1]["held"] == [found[1]["model"]]
    # 4 × 2 ways; the biases are split over 2 devices only, the norms not at all.
    biases = layers * (heads + 2 * 2) * 128 * 2
    eighth = (found[8]["model"] - norms - biases) // 8 + biases // 2 + norms
    assert found[8]["held"] == [eighth] * 8


@pytest.mark.slow
def test_a_checkpoint_of_the_size_of_qwen_1_5b(tmp_path: Path):
    """3.1 GB: imported with at most the model's bytes and 1 GB, on one device and on eight."""
    found = measured("--slack-mb", "1000", "--scratch", str(tmp_path))
    assert found[1]["model"] == 3_087_428_608
    for row in found.values():
        assert row["peak"] <= row["model"] + 10**9
        assert row["export_peak"] <= 1.5 * row["model"]
    assert max(found[8]["held"]) < 1.01 * found[8]["model"] / 8
