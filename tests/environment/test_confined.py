"""Functions other than programs in confined children."""

from collections.abc import Iterator

import pytest

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.confined import ConfinedFunction, Ending
from acim_jax.environment.protocol import Job
from acim_jax.environment.server import ExecutorFailure
from acim_jax.records import Status

CONFIG = ExecutorConfig(workers=1, timeout_s=20.0, cpu_seconds=1.0, modules=())


def end(function: ConfinedFunction, *arguments: object) -> Ending:
    return function.call(*arguments, convert=lambda end: end).result()


@pytest.fixture(scope="module")
def isqrt() -> Iterator[ConfinedFunction]:
    with ConfinedFunction(Job("math:isqrt"), CONFIG) as opened:
        yield opened


def test_what_the_function_returns_is_the_exit_code(isqrt: ConfinedFunction) -> None:
    ends = [end(isqrt, n) for n in (0, 49, 80)]
    assert [e.exit_code for e in ends] == [0, 7, 8]
    assert [e.status for e in ends] == [Status.OK, Status.ERROR, Status.ERROR]
    assert end(isqrt, 300**2).exit_code == 300 % 256


def test_an_error_of_the_function_is_told(isqrt: ConfinedFunction) -> None:
    failed = end(isqrt, -1)
    assert (failed.exit_code, failed.status) == (1, Status.ERROR)
    assert failed.stderr.splitlines()[-1] == "ValueError: isqrt() argument must be nonnegative"
    assert end(isqrt, 49).exit_code == 7


def test_what_is_no_exit_code_is_an_error_of_the_function() -> None:
    with ConfinedFunction(Job("operator:concat"), CONFIG) as function:
        failed = end(function, "a", "b")
        assert (failed.exit_code, failed.status) == (1, Status.ERROR)
        assert "TypeError: unsupported operand" in failed.stderr


@pytest.mark.parametrize("job", [Job("math:no_such"), Job("math:isqrt", warm_up="math:no_such")])
def test_a_function_that_is_not_there_is_a_failure_to_start(job: Job) -> None:
    with ConfinedFunction(job, CONFIG) as function, pytest.raises(ExecutorFailure, match="no_such"):
        end(function, 4)


def test_programs_read_no_package_versions() -> None:
    """Results must not depend on the installation; only loading may ask for versions."""
    job = Job("acim_jax.environment.program:run", ("numpy",))
    code = (
        "import importlib.metadata as m, numpy\nprint(len(list(m.distributions())))\n"
        "m.version('numpy')"
    )
    with ConfinedFunction(job, CONFIG) as function:
        found = end(function, code)
    assert found.stdout == "0\n"
    assert "PackageNotFoundError" in found.stderr.splitlines()[-1]
