"""After many programs nothing is left: processes, descriptors, folders, memory."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.sandbox import protection
from tests.support import fork_servers

CONFIG = ExecutorConfig(workers=2, timeout_s=30.0, cpu_seconds=2.0, file_mb=1)

#: One in seven of each; none of them the same text twice.
KINDS = [
    "print({i} * 7)",
    "import os\nos.makedirs('a{i}/b')\nopen('a{i}/b/c', 'w').write('x' * 10000)\nos.mkdir('d', 0)",
    "import os\nos.symlink('/etc', 'link{i}')\nos.mkfifo('pipe')",
    "import os\n[os.open('/dev/null', 0) for _ in range(40)]\n{i}",
    "{i} / 0",
    "import threading, time\nthreading.Thread(target=time.sleep, args=({i},), daemon=True).start()",
    "import os\nos.write(1, b'x' * {i})\nos._exit({i} % 200)",
]


class State(NamedTuple):
    servers: tuple[int, ...]
    files: tuple[str, ...]
    descriptors: tuple[int, ...]
    children: tuple[str, ...]
    own_descriptors: int
    memory_kb: int


def state(executor: Executor, others: set[int]) -> State:
    """Of the servers, `others` left out, and of this process. Only root may look at a server's
    descriptors."""
    pids = tuple(sorted(fork_servers.pids() - others))
    look = os.geteuid() == 0
    return State(
        servers=pids,
        files=tuple(sorted(str(path) for path in executor.scratch.rglob("*"))),
        descriptors=tuple(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids) if look else (),
        children=tuple(Path(f"/proc/{pid}/task/{pid}/children").read_text() for pid in pids),
        own_descriptors=len(os.listdir("/proc/self/fd")),
        memory_kb=sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for pid in pids
        )
        >> 10,
    )


def check(count: int, leave_out: tuple[protection.Layer, ...]) -> None:
    others = fork_servers.pids()
    with Executor(CONFIG, leave_out=leave_out) as executor:
        executor.run([kind.format(i=i) for i in range(10) for kind in KINDS])
        before = state(executor, others)
        for start in range(0, count, 500):
            some = range(start, min(start + 500, count))
            executor.run([KINDS[i % len(KINDS)].format(i=i) for i in some])
        after = state(executor, others)
        assert after._replace(memory_kb=0) == before._replace(memory_kb=0)
        assert after.children == ("",) * CONFIG.workers
        assert after.memory_kb <= before.memory_kb + 1024
        scratch = executor.scratch
    assert not scratch.exists()
    assert Path("/etc").is_dir()


@pytest.mark.parametrize("leave_out", [(), protection.LAYERS], ids=["protected", "limits only"])
def test_three_hundred_programs_leave_nothing(leave_out: tuple[protection.Layer, ...]) -> None:
    check(300, leave_out)


@pytest.mark.slow
def test_ten_thousand_programs_leave_nothing() -> None:
    check(10_000, ())
