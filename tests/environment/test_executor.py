"""The executor as a resource: processes, files, servers that die, order, configuration."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.sandbox import protection
from acim_jax.environment.server import ExecutorFailure
from acim_jax.records import Status
from tests.support import fork_servers

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unprotected() -> Iterator[Executor]:
    """An executor on a host that offers resource limits only."""
    config = ExecutorConfig(workers=1, timeout_s=20.0, cpu_seconds=1.0, modules=())
    with Executor(config, leave_out=protection.LAYERS) as opened:
        yield opened


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def processes_with(text: str) -> list[int]:
    """Living processes whose command line contains `text`."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if text.encode() in command and state != "Z":
            found.append(int(folder.name))
    return found


def test_results_come_in_input_order(executor: Executor) -> None:
    codes = [f"import time\ntime.sleep({0.05 * (i % 3)})\nprint({i})" for i in range(12)]
    assert [int(result.stdout) for result in executor.run(codes)] == list(range(12))


def test_programs_run_side_by_side(executor: Executor) -> None:
    span = "import time\nprint(time.monotonic())\ntime.sleep(0.5)\nprint(time.monotonic())"
    first, second = [[float(t) for t in r.stdout.split()] for r in executor.run([span, span])]
    assert first[0] < second[1] and second[0] < first[1]


@pytest.mark.parametrize(
    "spawn",
    [
        "subprocess.Popen(['sleep', '{mark}'])",
        "subprocess.Popen(['sleep', '{mark}'], start_new_session=True)",
        "os.fork() or [os.setsid(), os.fork() and os._exit(0), os.execlp('sleep', 's', '{mark}')]",
    ],
)
@pytest.mark.parametrize("ending", ["print('done')", "time.sleep(60)"])
def test_processes_that_a_program_started_die_with_it_even_where_nothing_forbids_them(
    unprotected: Executor, spawn: str, ending: str
) -> None:
    mark = f"{1000 + os.getpid()}.{time.monotonic_ns()}"
    code = f"import os, subprocess, time\n{spawn.format(mark=mark)}\ntime.sleep(0.2)\n{ending}"
    begin = time.monotonic()
    result = unprotected.submit(code, timeout_s=0.6).result()
    assert result.status is (Status.OK if "print" in ending else Status.TIMEOUT)
    assert time.monotonic() - begin < 20
    assert processes_with(mark) == []


def test_a_server_killed_in_mid_run_is_replaced_and_its_program_run_again() -> None:
    others = fork_servers.pids()
    with Executor(ExecutorConfig(workers=1, modules=())) as executor:
        executor.run(["1"])
        (old,) = fork_servers.pids() - others
        future = executor.submit("import time\ntime.sleep(1)\nprint('whole')")
        time.sleep(0.3)
        os.kill(old, signal.SIGKILL)
        result = future.result()
        assert (result.status, result.stdout) == (Status.OK, "whole\n")
        (new,) = fork_servers.pids() - others
        assert new != old
        assert executor.run(["2 + 2"])[0].stdout == "4\n"


def test_all_servers_killed_at_once_are_replaced() -> None:
    others = fork_servers.pids()
    with Executor(ExecutorConfig(workers=2, modules=())) as executor:
        executor.run(["1", "1"])
        futures = [executor.submit(f"import time\ntime.sleep(1)\nprint({i})") for i in range(4)]
        time.sleep(0.3)
        for pid in fork_servers.pids() - others:
            os.kill(pid, signal.SIGKILL)
        assert [future.result().stdout for future in futures] == ["0\n", "1\n", "2\n", "3\n"]


def test_a_program_that_always_kills_its_server_is_our_failure_not_its_own() -> None:
    with Executor(ExecutorConfig(workers=1, modules=()), leave_out=protection.LAYERS) as executor:
        kill = "import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(5)"
        first, second = executor.run([kill, "print('next')"])
        assert first.status is Status.INFRA and "died" in first.stderr
        assert (second.status, second.stdout) == (Status.OK, "next\n")


def test_closing_ends_everything_at_once() -> None:
    others = fork_servers.pids()
    executor = Executor(ExecutorConfig(workers=2, modules=()))
    executor.run(["1"])
    futures = [executor.submit("import time\ntime.sleep(30)") for _ in range(4)]
    time.sleep(0.2)
    pids, scratch = fork_servers.pids() - others, executor.scratch
    assert len(pids) == 2
    begin = time.monotonic()
    executor.close()
    executor.close()
    assert time.monotonic() - begin < 10
    assert not any(map(is_alive, pids))
    assert not scratch.exists()
    assert all(f.cancelled() or isinstance(f.exception(), ExecutorFailure) for f in futures)
    with pytest.raises(ExecutorFailure, match="closed"):
        executor.submit("1")


@pytest.mark.parametrize(
    "leave_out", ["('seccomp', 'landlock', 'private_files')", "protection.LAYERS"]
)
def test_children_die_with_the_process_that_holds_the_executor(
    tmp_path: Path, leave_out: str
) -> None:
    mark = f"{2000 + os.getpid()}.{time.monotonic_ns()}"
    script = (
        "import os, time\n"
        "from acim_jax.environment.config import ExecutorConfig\n"
        "from acim_jax.environment.executor import Executor\n"
        "from acim_jax.environment.sandbox import protection\n"
        "from tests.support import fork_servers\n"
        f"leave_out = {leave_out}\n"
        "executor = Executor(ExecutorConfig(workers=1, modules=()), leave_out=leave_out)\n"
        "executor.run(['1'])\n"
        f'executor.submit(\'import subprocess\\nsubprocess.run(["sleep", "{mark}"])\')\n'
        "time.sleep(0.5)\n"
        "print(*fork_servers.pids(), flush=True)\n"
        "os._exit(0)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    run = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=True, cwd=ROOT
    )
    deadline = time.monotonic() + 10
    (server,) = map(int, run.stdout.split())
    while time.monotonic() < deadline and (
        processes_with(mark) or is_alive(server) or list(tmp_path.iterdir())
    ):
        time.sleep(0.05)
    assert processes_with(mark) == []
    assert not is_alive(server)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_forgets_to_close_ends_and_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "from acim_jax.environment.config import ExecutorConfig\n"
        "from acim_jax.environment.executor import Executor\n"
        "from tests.support import fork_servers\n"
        "executor = Executor(ExecutorConfig(workers=1, modules=()))\n"
        "print(executor.run(['6 * 7'])[0].stdout, *fork_servers.pids())\n"
        "executor.submit('import time\\ntime.sleep(60)')\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    run = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=True, cwd=ROOT
    )
    value, server = run.stdout.split()
    assert (value, run.stderr) == ("42", "")
    assert not is_alive(int(server))
    assert list(tmp_path.iterdir()) == []


def test_servers_never_load_jax_and_see_none_of_this_process_environment(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    executor.run(["1", "1"])
    with Executor(ExecutorConfig(workers=1)) as fresh:
        fresh.run(["1"])
        pids = fork_servers.pids()
        assert len(pids) >= 3
        for pid in pids:
            if os.geteuid() == 0:  # nobody else can look into a server
                assert "jaxlib" not in Path(f"/proc/{pid}/maps").read_text()
                assert b"hunter2" not in Path(f"/proc/{pid}/environ").read_bytes()
            threads = os.listdir(f"/proc/{pid}/task")
            assert len(threads) == 1, "a fork copies one thread: the server must not have others"


def test_the_module_list_is_the_config() -> None:
    with Executor(ExecutorConfig(workers=1, modules=("mpmath",))) as executor:
        codes = ["import mpmath\nmpmath.mpf(2)", "import sympy", "import numpy"]
        found, sympy, numpy = executor.run(codes)
        assert found.stdout == "mpf('2.0')\n"
        assert "No module named 'sympy'" in sympy.stderr
        assert "No module named 'numpy'" in numpy.stderr


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": 0}, "(?s)workers.*greater than or equal to 1"),
        ({"timeout_s": 0.0}, "(?s)timeout_s.*greater than 0"),
        ({"cpu_seconds": float("inf")}, "(?s)cpu_seconds.*finite number"),
        ({"modules": ("sympy.solvers",)}, "top-level module names, got 'sympy.solvers'"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExecutorConfig(**fields)  # pyright: ignore[reportArgumentType]


def test_a_module_that_is_not_installed_is_named() -> None:
    with pytest.raises(ValueError, match="'no_such_module', which is not installed"):
        Executor(ExecutorConfig(modules=("no_such_module",)))


def test_servers_that_cannot_start_are_a_failure_of_the_executor(tmp_path: Path) -> None:
    (tmp_path / "broken_module.py").write_text("raise ImportError('half installed')")
    sys.path.append(str(tmp_path))
    try:
        with Executor(ExecutorConfig(workers=1, modules=("broken_module",))) as executor:
            future = executor.submit("1")
            with pytest.raises(ExecutorFailure, match="half installed"):
                future.result()
    finally:
        sys.path.remove(str(tmp_path))
