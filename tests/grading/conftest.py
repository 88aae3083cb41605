from collections.abc import Iterator

import pytest

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.grading.config import GraderConfig
from acim_jax.grading.grader import Grader


@pytest.fixture(scope="package")
def executor() -> Iterator[Executor]:
    config = ExecutorConfig(
        workers=2, timeout_s=20.0, cpu_seconds=1.0, memory_mb=256, output_chars=400, file_mb=1
    )
    with Executor(config) as opened:
        yield opened


@pytest.fixture(scope="package")
def grader() -> Iterator[Grader]:
    with Grader(GraderConfig(timeout_s=3.0), ExecutorConfig(workers=2)) as opened:
        yield opened
