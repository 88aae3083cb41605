"""Before jax starts: eight virtual CPU devices, full matmul precision, the compilation cache."""

import os
from collections.abc import Iterator
from pathlib import Path

# The tests' programs are tiny and run a few times each: compiling them quickly counts for more than
# running them quickly: from an empty cache the heavy files took half the time.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import jax
import pytest

from acim_jax.run import compilation

MOST_MAPS = 30_000

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")
compilation.enable_cache()


@pytest.fixture(scope="module", autouse=True)
def _no_more_maps_than_a_process_may_have() -> Iterator[None]:
    """Compiled programs of earlier files go before they fill the process's memory maps.

    Each takes a few, the kernel allows 65 530 of them (`vm.max_map_count`), and the compiler ends
    with a segmentation fault where it gets no more.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
