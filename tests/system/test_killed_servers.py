"""A rollout goes on when the executor's servers are killed, and its episodes are the same."""

import contextlib
import os
import signal
import threading

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.records import Status
from tests.support import fork_servers
from tests.support.tiny_models import make_sampler, requests, run

CONFIG = ExecutorConfig(workers=2, timeout_s=60.0, modules=())
KILLS = 3


class SlowPrograms(Executor):
    """Runs, for each program of the tiny model, one that takes a while and knows its length.

    done: is released once for each that has ended.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        super().__init__(config)
        self.done = threading.Semaphore(0)

    def submit(self, code, timeout_s=None, **options):
        slow = f"import time\ntime.sleep(0.2)\nprint({len(code)})"
        future = super().submit(slow, timeout_s, **options)
        future.add_done_callback(lambda _: self.done.release())
        return future


def kill_servers(executor: SlowPrograms, others: set[int], killed: list[int]) -> None:
    """Kills servers, `others` spared, while programs run in them. Programs end between two kills,
    so that none loses two servers and no server is killed before it is ready."""
    while len(killed) < KILLS:
        for _ in range(2 * CONFIG.workers):
            if not executor.done.acquire(timeout=60.0):
                return
        for pid in sorted(fork_servers.pids() - others)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)


def test_episodes_do_not_depend_on_killed_servers() -> None:
    sampler, wanted = make_sampler(), requests(3, 4)
    others = fork_servers.pids()
    with SlowPrograms(CONFIG) as executor:
        executor.run(["1", "1"])
        calm, _ = run(sampler, wanted, executor)
        executor.take_measurements()
        executor.done = threading.Semaphore(0)
        killed: list[int] = []
        killer = threading.Thread(target=kill_servers, args=(executor, others, killed))
        killer.start()
        stormy, _ = run(sampler, wanted, executor)
        executor.done.release(2 * CONFIG.workers * KILLS)
        killer.join()
        taken = executor.take_measurements()
    assert taken.restarts >= 1 and len(killed) >= 1
    statuses = [e.status for episode in stormy for e in episode.executions]
    assert statuses.count(Status.OK) == len(statuses) > 5
    for one, other in zip(calm, stormy, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert [e.stdout for e in one.executions] == [e.stdout for e in other.executions]
        assert (one.stop, one.text) == (other.stop, other.text)
