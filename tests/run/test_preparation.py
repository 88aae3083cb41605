"""Which of a run's problems are evaluated."""

import dataclasses
from pathlib import Path

import pytest

from acim_jax.config.run import RunConfig
from acim_jax.data.config import DataConfig
from acim_jax.improve.config import ImproveConfig
from acim_jax.model.config import ModelSource
from acim_jax.records import Problem
from acim_jax.run import preparation
from acim_jax.sampling.config import SamplingConfig
from tests.support.model_folders import write_rows

PROBLEMS = [Problem(f"{source}/{i}", "?", "1") for source in "abc" for i in range(40)]


@pytest.mark.parametrize("count", [3, 12, 17, 119])
def test_every_source_has_its_share(count: int) -> None:
    chosen = preparation.spread(PROBLEMS, count)
    assert len({problem.id for problem in chosen}) == count
    shares = [sum(p.id.startswith(source) for p in chosen) for source in "abc"]
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("count", [None, 120, 500])
def test_all_of_them(count: int | None) -> None:
    assert preparation.spread(PROBLEMS, count) == PROBLEMS


def test_training_problems_are_those_that_the_config_asks_for(tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "problem": f"{i}+1", "answer": str(i + 1), "levels": [1 + i % 2]}
        for i in range(8)
    ]
    file = write_rows(tmp_path / "levelled.jsonl", rows)
    data = DataConfig(
        train=(str(file),), where=({"levels": 2},), num_train=6, num_validation=4, num_test=4
    )
    run = RunConfig(
        model=ModelSource(path="tiny"),
        data=data,
        improve=ImproveConfig(buckets=(144,)),
        sampling=SamplingConfig(max_length=144),
    )
    prepared = preparation.prepare(run)
    assert [problem.id for problem in prepared.train] == ["1", "3", "5"]
    assert len(prepared.validation) == 4
    with pytest.raises(ValueError, match=r"data\.where.*none of 6"):
        preparation.prepare(
            dataclasses.replace(run, data=dataclasses.replace(data, where=({"levels": 5},)))
        )


def test_a_condition_that_is_none_is_refused_in_the_config() -> None:
    with pytest.raises(ValueError, match="where: pass_rate/7b: needed a number or an interval"):
        DataConfig(where=({"pass_rate/7b": "about 1"},))
