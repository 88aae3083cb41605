"""What the families claim of their programs is what the executor finds under the stated limits."""

import collections

import pytest

from acim_jax.data import generated
from acim_jax.data.families import ARITHMETIC, Case
from acim_jax.environment.config import ExecutorConfig
from acim_jax.markup import Markup, outputs
from acim_jax.records import ExecutionResult

executor = pytest.importorskip("acim_jax.environment.executor", exc_type=ImportError)
PER_STRATUM = 3


def test_every_stratum_behaves_as_its_family_says() -> None:
    strata: dict[tuple[str, int], list[Case]] = collections.defaultdict(list)
    for family, level, case in generated.cases("validation", 1500, seed=7):
        if len(strata[family, level]) < PER_STRATUM:
            strata[family, level].append(case)
    assert len(strata) == 3 * len(ARITHMETIC)
    cases = [case for drawn in strata.values() for case in drawn]
    config = ExecutorConfig(workers=2, cpu_seconds=0.05, memory_mb=1024)
    with executor.Executor(config) as running:
        results: list[ExecutionResult] = running.run([case.program for case in cases])
    shown = Markup(max_output_chars=64)
    for case, result in zip(cases, results, strict=True):
        assert result.status == case.outcome.status, (case.program, result)
        assert result.stdout == case.outcome.stdout
        assert outputs.render_output(result, shown) == outputs.render_output(case.outcome, shown)
