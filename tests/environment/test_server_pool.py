"""The executor under load: cancellation, the bounded queue, failures of ours, measurements."""

import concurrent.futures
import threading
import time

import pytest

from acim_jax.environment import measurements
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.sandbox import protection
from acim_jax.environment.server import ExecutorFailure
from acim_jax.records import Status

CONFIG = ExecutorConfig(workers=1, timeout_s=60.0, cpu_seconds=20.0, modules=(), waiting=2)
SLEEP = "import time\ntime.sleep(50)"


def test_cancelling_ends_what_runs_and_drops_what_waits() -> None:
    with Executor(CONFIG) as executor:
        executor.run(["1"])
        running, waiting = executor.submit(SLEEP), executor.submit(SLEEP)
        time.sleep(0.3)
        begin = time.monotonic()
        assert running.cancel() and waiting.cancel() and running.cancel()
        done, _ = concurrent.futures.wait([running, waiting])
        assert len(done) == 2
        with pytest.raises(concurrent.futures.CancelledError):
            running.result()
        assert executor.run(["print('next')"])[0].stdout == "next\n"
        assert time.monotonic() - begin < 40, "the cancelled program was waited for"
        taken = executor.take_measurements()
        assert (taken.cancelled, taken.restarts, taken.infra) == (2, 0, 0)


def test_what_is_done_cannot_be_cancelled() -> None:
    with Executor(CONFIG) as executor:
        future = executor.submit("print(1)")
        assert future.result().stdout == "1\n"
        assert not future.cancel()
        assert future.result().stdout == "1\n"


def test_cancelling_at_any_moment_loses_no_other_program() -> None:
    with Executor(CONFIG) as executor:
        executor.run(["1"])
        for step in range(12):
            doomed = executor.submit("import time\ntime.sleep(0.01)")
            kept = executor.submit(f"print({step})")
            time.sleep(0.003 * step)
            doomed.cancel()
            assert kept.result().stdout == f"{step}\n"
        assert executor.take_measurements().restarts == 0


def test_a_full_queue_makes_the_giver_wait() -> None:
    with Executor(CONFIG) as executor:
        executor.run(["1"])
        blocking = [executor.submit(SLEEP) for _ in range(1)]
        time.sleep(0.3)
        blocking += [executor.submit(SLEEP) for _ in range(2)]  # waiting=2: now it is full
        given = threading.Event()

        def give() -> None:
            executor.submit("1")
            given.set()

        giver = threading.Thread(target=give, daemon=True)
        giver.start()
        assert not given.wait(1.0)
        for future in blocking:
            future.cancel()
        assert given.wait(30.0)
        giver.join()


def test_closing_wakes_a_giver_that_waits() -> None:
    executor = Executor(CONFIG)
    executor.run(["1"])
    futures = [executor.submit(SLEEP) for _ in range(3)]
    errors: list[BaseException] = []

    def give() -> None:
        try:
            executor.submit("1").result()
        except (ExecutorFailure, concurrent.futures.CancelledError) as error:
            errors.append(error)

    giver = threading.Thread(target=give, daemon=True)
    giver.start()
    time.sleep(0.2)
    executor.close()
    giver.join(20.0)
    assert not giver.is_alive() and len(errors) == 1
    assert all(f.done() for f in futures)


def test_too_many_failures_of_ours_stop_the_run() -> None:
    config = ExecutorConfig(workers=1, modules=(), max_infra_rate=0.01)  # 2 of the last 200
    kill = "import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(5)"
    with Executor(config, leave_out=protection.LAYERS) as executor:
        statuses = [executor.submit(kill).result().status for _ in range(3)]
        assert statuses == [Status.INFRA] * 3
        with pytest.raises(ExecutorFailure, match="too many programs failed"):
            executor.submit("1").result()
        taken = executor.take_measurements()
        assert (len(taken.latencies_s), taken.infra, taken.restarts) == (3, 3, 6)


def test_a_program_that_is_too_long_is_refused_before_it_runs() -> None:
    with Executor(CONFIG) as executor:
        result = executor.submit("#" * (1 << 20) + "\n").result()
        assert result.status is Status.BLOCKED and "1048576 characters" in result.stderr
        assert executor.submit("#" * (1 << 20)).result().status is Status.OK


def test_measurements_are_of_the_programs_since_the_last_reading() -> None:
    with Executor(CONFIG) as executor:
        executor.run(["import time\ntime.sleep(0.2)"] * 3)
        taken = executor.take_measurements()
        assert len(taken.latencies_s) == len(taken.waits_s) == 3
        assert min(taken.latencies_s) > 0.2 and max(taken.waits_s) > 0.4
        assert executor.take_measurements() == (0, 0, 0, (), ())


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(1, 0.5, 1), (1, 0.95, 1), (2, 0.5, 1), (3, 0.5, 2), (100, 0.95, 95), (20, 0.95, 19)],
)
def test_quantile(count: int, share: float, expected: int) -> None:
    values = [float(i + 1) for i in range(count)]
    assert measurements.quantile(values, share) == expected
    assert sum(v <= expected for v in values) >= share * count
