"""What the families claim of every program is what the executor finds under the stated limits."""

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
    stated = [p for drawn in strata.values() for case in drawn for p in case.programs]
    config = ExecutorConfig(workers=2, cpu_seconds=0.05, memory_mb=1024)
    with executor.Executor(config) as running:
        results: list[ExecutionResult] = running.run([p.code for p in stated])
    shown = Markup(max_output_chars=64)
    for own, result in zip(stated, results, strict=True):
        assert result.status == own.status, (own.code, result)
        assert result.stdout == own.stdout
        assert outputs.render_output(result, shown) == outputs.render_output(own, shown)
