"""What a host offers: levels, refusals, fallbacks, and hosts that offer little."""

import json
import logging

import pytest

from acim_jax.environment import executor as executors
from acim_jax.environment import server
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.sandbox import protection
from acim_jax.records import Status

CONFIG = ExecutorConfig(workers=1, timeout_s=20.0, cpu_seconds=1.0, disk_mb=2, modules=())
FILTERED = ("no_new_privileges", "no_capabilities", "seccomp")


@pytest.mark.parametrize(
    ("held", "level"),
    [
        ((), "limits"),
        (("landlock", "namespaces", "private_files"), "limits"),
        (FILTERED, "filtered"),
        ((*FILTERED, "namespaces"), "filtered"),
        ((*FILTERED, "landlock"), "confined"),
        ((*FILTERED, "landlock", "namespaces"), "confined"),
        ((*FILTERED, "landlock", "namespaces", "private_files"), "isolated"),
        (protection.LAYERS, "isolated"),
    ],
)
def test_level(held: tuple[str, ...], level: str) -> None:
    assert protection.level({name: name in held for name in protection.LAYERS}) == level


def test_a_host_below_the_wanted_level_is_refused_with_its_reasons() -> None:
    config = ExecutorConfig(workers=1, modules=(), min_protection="confined")
    with pytest.raises(ValueError, match=r"offers 'filtered' .*landlock: left out on request"):
        Executor(config, leave_out=("landlock", "namespaces", "private_files"))
    with Executor(config, leave_out=("namespaces",)) as opened:
        assert opened.capabilities()["protection"] == "confined"


def test_little_protection_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Executor(CONFIG, leave_out=protection.LAYERS):
        assert "level 'limits' only" in caplog.text
        assert "files, processes and network" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING), Executor(CONFIG, leave_out=("namespaces",)):
        assert caplog.text == ""


def test_a_system_without_these_layers_has_limits_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on macOS: the server believes that it is not on Linux."""
    boot = server._BOOT.replace(
        "worker.main()",
        "confinement = worker.confinement; confinement.kernel.IS_LINUX = False; "
        "confinement.sys.platform = 'darwin'; worker.main()",
    )
    monkeypatch.setattr(server, "_BOOT", boot)
    with Executor(CONFIG) as opened:
        found = opened.capabilities()
        ok, error, slow, disk = opened.run(
            [
                "print(6 * 7)",
                "1/0",
                "while True: pass",
                "import time\nfor i in range(9): open(str(i), 'wb').write(bytes(1 << 20))\n"
                "time.sleep(15)",
            ]
        )
    assert found["protection"] == "limits"
    assert set(found["missing"].values()) == {"not on darwin"}
    assert found["instead"].keys() == found["missing"].keys()
    assert "level 'limits' only" in caplog.text
    assert (ok.status, ok.stdout) == (Status.OK, "42\n")
    assert (error.status, slow.status) == (Status.ERROR, Status.TIMEOUT)
    assert disk.status is Status.KILLED and "too much room" in disk.stderr


def test_processes_outside_are_not_seen_in_a_namespace() -> None:
    with Executor(CONFIG) as opened:
        if "namespaces" in opened.missing:
            pytest.skip(f"no namespaces: {opened.missing['namespaces']}")
        assert opened.run(["import os\nos.getppid()"])[0].stdout == "1\n"
    with Executor(CONFIG, leave_out=("namespaces",)) as opened:
        assert opened.run(["import os\nos.getppid() > 1"])[0].stdout == "True\n"


def test_a_disk_of_its_own_is_full_at_the_limit() -> None:
    code = (
        "written = 0\n"
        "try:\n"
        "  for i in range(9): written += open(str(i), 'wb').write(bytes(1 << 20))\n"
        "except OSError as error: print(error.errno, written >> 20)"
    )
    with Executor(CONFIG) as opened:
        if "private_files" in opened.missing:
            pytest.skip(f"no file system of its own: {opened.missing['private_files']}")
        first, second = opened.run([code, code])
    no_space_left = 28
    assert first.stdout == second.stdout
    assert first.stdout.startswith(f"{no_space_left} ")
    assert int(first.stdout.split()[1]) <= 2


def test_the_report_is_the_same_without_loading_modules() -> None:
    config = ExecutorConfig(workers=3)
    found = json.loads(json.dumps(executors.probe(config)))
    assert found["workers"] == 3 and set(found["modules"]) == {"numpy", "sympy", "mpmath"}
    with Executor(CONFIG) as opened:
        assert found["layers"] == opened.capabilities()["layers"]
