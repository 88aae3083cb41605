"""A rollout goes on when the executor's servers are killed, and its episodes are the same."""

import contextlib
import os
import signal
import threading
import time

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.records import Status
from tests.support import fork_servers
from tests.support.tiny_models import make_sampler, requests, run

CONFIG = ExecutorConfig(workers=2, timeout_s=60.0, modules=())
KILLS = 3


class SlowPrograms(Executor):
    """Runs, for each program of the tiny model, one that takes a while and knows its length."""

    def submit(self, code, timeout_s=None, **options):
        slow = f"import time\ntime.sleep(0.2)\nprint({len(code)})"
        return super().submit(slow, timeout_s, **options)


def kill_servers(others: set[int], killed: list[int], finished: threading.Event) -> None:
    """Kills each server but `others` some times, while programs run in them."""
    while len(killed) < KILLS and not finished.wait(0.3):
        for pid in sorted(fork_servers.pids() - others)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        time.sleep(0.5)  # a program may lose two servers, no more


def test_episodes_do_not_depend_on_killed_servers() -> None:
    sampler, wanted = make_sampler(), requests(3, 4)
    others = fork_servers.pids()
    with SlowPrograms(CONFIG) as executor:
        executor.run(["1", "1"])
        calm, _ = run(sampler, wanted, executor)
        executor.take_measurements()
        killed: list[int] = []
        finished = threading.Event()
        killer = threading.Thread(target=kill_servers, args=(others, killed, finished))
        killer.start()
        stormy, _ = run(sampler, wanted, executor)
        finished.set()
        killer.join()
        taken = executor.take_measurements()
    assert taken.restarts >= 1 and len(killed) >= 1
    statuses = [e.status for episode in stormy for e in episode.executions]
    assert statuses.count(Status.OK) == len(statuses) > 5
    for one, other in zip(calm, stormy, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert [e.stdout for e in one.executions] == [e.stdout for e in other.executions]
        assert (one.stop, one.text) == (other.stop, other.text)
