"""The compile counter, with the persistent cache off, filled and used."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from acim_jax.run import compilation


def test_a_warm_call_counts_nothing() -> None:
    x_short, x_long = jnp.ones(3), jnp.ones(5)

    @jax.jit
    def double(x: jax.Array) -> jax.Array:
        return 2 * x

    with compilation.CompileCounter() as counter:
        double(x_short)
        assert counter.take().executables == 1
        double(x_short)
        assert counter.take() == (0, 0.0)
        double(x_long)  # another shape is another program
        seen = counter.take()
        assert seen.executables == 1 and seen.seconds > 0
    double(jnp.ones(7))
    assert counter.take().executables == 0  # closed counters hear nothing


PROGRAM = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from acim_jax.run import compilation

assert compilation.enable_cache(Path(sys.argv[1])) == Path(sys.argv[1])
x = jnp.ones((8, 8))

@jax.jit
def long(x):
    for i in range(60):
        x = jnp.sin(x @ x) + i
    return x

with compilation.CompileCounter() as counter:
    long(x)
    print(counter.take().executables)
    long(x)
    print(counter.take().executables)
"""


def test_programs_are_kept_and_loading_one_counts(tmp_path: Path) -> None:
    def run() -> list[str]:
        command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert run() == ["1", "0"]
    kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("jit_long-*-cache")}
    assert len(kept) == 1
    assert run() == ["1", "0"]  # loaded: still one program that was not in memory
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("jit_long-*-cache")} == kept


def test_a_cache_that_cannot_be_written_is_left_off(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert compilation.enable_cache(file / "xla") is None
