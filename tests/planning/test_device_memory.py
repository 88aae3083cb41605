"""What is refused for want of memory, and what a device is said to have."""

import os
import re
from pathlib import Path

import jax
import pytest

from acim_jax.cli import main
from acim_jax.planning import device_memory, topology
from acim_jax.planning.memory import Exploring, Improving
from tests.support import model_folders

GIB = 2**30
EXPLORING = Exploring(held=4 * GIB, weights=2 * GIB, pages=3 * GIB, working=GIB, scoring=0)
IMPROVING = Improving(4 * GIB, 0, 8 * GIB, 8 * GIB, 5 * GIB, GIB)
CONFIG = """
method: sft
model: {{path: {model}}}
data: {{num_train: 1, num_validation: 2, num_test: 2, demonstrations: generated:arithmetic}}
warmup: {{steps: 2, rows: 8, buckets: [144]}}
sampling: {{slots: 8, spare: 0, max_length: 160, prefill_rows: 8, prefill_buckets: [64]}}
executor: {{workers: 1}}
mesh: {{data: 8}}
evaluation: {{final_problems: 0}}
run: {{iterations: 0, trackers: []}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(model=model_folders.write_model(tmp_path / "model")))
    return path


def test_totals_are_of_what_is_held_at_once() -> None:
    """π̂(c|x) is asked when the pages are gone."""
    assert EXPLORING.total == 10 * GIB
    assert EXPLORING._replace(scoring=7 * GIB).total == 13 * GIB
    assert (EXPLORING.certain, IMPROVING.certain) == (9 * GIB, 20 * GIB)
    assert IMPROVING.total == 26 * GIB


def test_estimates_alone_refuse_nothing() -> None:
    device_memory.check(EXPLORING, IMPROVING, 20 * GIB)
    device_memory.check(EXPLORING, None, 9 * GIB)


def test_a_refusal_says_what_is_held_and_what_to_change() -> None:
    with pytest.raises(ValueError, match=r"2\.0 GiB of weights and 3\.0 GiB of key/value cache, "):
        device_memory.check(EXPLORING, None, 9 * GIB - 1)
    with pytest.raises(ValueError, match=r"beside 4\.0 GiB of training.*9\.0 GiB.*--slots"):
        device_memory.check(EXPLORING, IMPROVING, 9 * GIB - 1)
    with pytest.raises(ValueError, match=r"8\.0 GiB of moments.*mesh\.fsdp.*lora"):
        device_memory.check(EXPLORING, IMPROVING, 20 * GIB - 1)


def test_virtual_devices_share_what_the_host_may_use(tmp_path: Path) -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = tmp_path / "memory.max"
    assert device_memory.host_bytes(limit) == physical  # no control group
    limit.write_text("max\n")
    assert device_memory.host_bytes(limit) == physical
    limit.write_text(f"{3 * GIB}\n")
    assert device_memory.host_bytes(limit) == min(3 * GIB, physical)
    assert device_memory.available(jax.devices()) == device_memory.host_bytes() // 8


class FakeDevice:
    def __init__(self, limit: int) -> None:
        self.limit = limit

    def memory_stats(self) -> dict[str, int]:
        return {"bytes_limit": self.limit, "bytes_in_use": 1}


def test_the_smallest_device_counts() -> None:
    assert device_memory.available([FakeDevice(5 * GIB), FakeDevice(4 * GIB)]) == 4 * GIB


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0.0 B"), (1536, "1.5 KiB"), (3 * GIB, "3.0 GiB"), (2**43, "8.0 TiB")]
)
def test_bytes_in_a_unit_that_suits_them(count: int, text: str) -> None:
    assert device_memory.human(count) == text


def test_a_run_that_cannot_fit_is_refused_before_work(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = config.parent / "run"
    command = ["train", str(config), "--out", str(run), "--sampling.slots", "1000000000"]
    assert main.main(command) == 2
    said = capsys.readouterr().err
    assert "key/value cache" in said
    assert "sampling.slots" in said
    assert not run.exists()


def test_an_evaluation_that_cannot_fit_is_refused_before_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["evaluate", "--model", "tiny", "--data", "generated:arithmetic", "--limit", "2"]
    assert main.main([*command, "--slots", "1000000000", "--out", str(out)]) == 2
    assert "--slots" in capsys.readouterr().err
    assert not out.exists()


def test_the_sampler_is_announced_and_a_dry_run_shows_both_phases(
    config: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One row a device: 5 pages, a partly filled one and the trash page, of 32 tokens each."""
    model = model_folders.CONFIG
    cache = 7 * 32 * 2 * model.num_layers * model.num_kv_heads * model.head_dim * 4
    with caplog.at_level("INFO", "acim_jax"):
        assert main.main(["train", str(config), "--out", str(config.parent / "run")]) == 0
    (line,) = (r.getMessage() for r in caplog.records if r.getMessage().startswith("sampler, "))
    found = re.search(r"([\d.]+) KiB key/value cache", line)
    assert found is not None
    assert 0 <= float(found[1]) - cache / 1024 < 0.2  # and the rows' own small tables
    capsys.readouterr()
    assert main.main(["train", str(config), "--dry-run"]) == 0
    shown = capsys.readouterr().err
    assert "exploring, per device, about" in shown
    assert "improving, per device, about" in shown
    assert f"{found[1]} KiB" in shown
    assert ": fits" in shown


@pytest.mark.parametrize("name", ["v99:2x2", "h100:many", "h200:8", "nothing"])
def test_unknown_hardware_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match=r"v5e:4x4.*h100:8") as refused:
        topology.devices(name)
    assert name in str(refused.value)
