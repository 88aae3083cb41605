from collections.abc import Iterator

import pytest

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor


@pytest.fixture(scope="package")
def executor() -> Iterator[Executor]:
    config = ExecutorConfig(
        workers=2, timeout_s=20.0, cpu_seconds=1.0, memory_mb=256, output_chars=400, file_mb=1
    )
    with Executor(config) as opened:
        yield opened
