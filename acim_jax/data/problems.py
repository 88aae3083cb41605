"""Problems from files, hubs, generators and own functions, all checked before any is returned."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from acim_jax.data import generated, known, own_data, problem_records, reasoning_gym
from acim_jax.data.config import DataConfig
from acim_jax.data.problem_records import Record
from acim_jax.files import jsonl
from acim_jax.records import Problem


def load_split(config: DataConfig, split: generated.Split) -> list[Problem]:
    """All problems of one split of a config. ValueError for an id that stands in two sources."""
    sources = cast(tuple[str, ...], getattr(config, split))
    limit = cast(int | None, getattr(config, f"num_{split}"))
    problems: list[Problem] = []
    origins: dict[str, str] = {}
    for source in sources:
        loaded = load(source, split=split, limit=limit, seed=config.seed, mapping=config.mapping)
        for problem in loaded:
            if problem.id in origins:
                raise ValueError(
                    f"data.{split}: id {problem.id!r} stands in {origins[problem.id]} and in "
                    f"{source}; ids must differ, or rename one of them."
                )
        origins |= {problem.id: source for problem in loaded}
        problems += loaded
    return problems


def load(
    source: str,
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    mapping: Mapping[str, str] | None = None,
) -> list[Problem]:
    """The first `limit` problems of `source`.

    source: a `.jsonl`, `.jsonl.gz` or `.parquet` file; a data set known by name
    (`known.DATA_SETS`) or a `datasets` hub name, with its `split`; `generated:NAME` or
    `reasoning-gym:NAME`, which need `limit` and draw by `split` and `seed`; a function of the
    user's own (`own_data`), which is given the split. mapping: our field name
    -> the name in the records; without it, records in the form of a known data set are recognised.
    Unknown fields go to `extra`. FileNotFoundError for a missing file and for a hub that does not
    answer; ValueError naming source, line and field for a bad record.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"{source}: the number of problems must be at least 1, got {limit}.")
    if source.startswith(reasoning_gym.PREFIX):
        return reasoning_gym.load(source, limit, split=split, seed=seed)
    if source.startswith(generated.PREFIX):
        count = generated.checked_count(source, limit, "problems")
        name = source.removeprefix(generated.PREFIX)
        return generated.generate(split, count, seed=seed, name=name)
    problem_records.check_mapping(mapping or {})
    problems: list[Problem] = []
    places: dict[str, str] = {}
    records = _records(source, split, recognise=not mapping)
    if own_data.is_one(source):  # which may have no end
        records = itertools.islice(records, limit)
    for where, record in records:
        problem = problem_records.to_problem(record, where, mapping or {})
        if (first := places.setdefault(problem.id, where)) != where:
            raise ValueError(f"{where}: id {problem.id!r} was used at {first}.")
        problems.append(problem)
    if not problems:
        raise ValueError(f"{source} holds no problems.")
    return problems[:limit]


def fingerprint(problems: Sequence[Problem]) -> str:
    """16 hex digits over everything that the problems hold, in their order."""
    content = json.dumps([dataclasses.asdict(problem) for problem in problems], default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _records(source: str, split: str, *, recognise: bool) -> Iterator[tuple[str, Record]]:
    """Place and record, in our fields where `recognise` finds their form."""
    path = Path(source)
    if source in known.DATA_SETS and recognise:
        yield from known.of_hub(source, split)
        return
    is_table = not path.name.endswith((".jsonl", ".jsonl.gz"))
    if not is_table:
        read: Iterable[tuple[int, Record]] = jsonl.read(path)
    elif path.suffix == ".parquet":
        read = enumerate(_parquet_records(path), start=1)
    elif own_data.is_one(source):
        read = enumerate(own_data.records(source, split), start=1)
    elif path.exists() or path.suffix in (".json", ".csv", ".gz", ".txt", ".yaml", ".py"):
        raise ValueError(
            f"{source}: problems come as .jsonl, .jsonl.gz, .parquet, a datasets hub name, "
            f"{generated.PREFIX}NAME, {reasoning_gym.PREFIX}NAME or FILE.py:FUNCTION."
        )
    else:
        read = enumerate(known.hub_records(source, split), start=1)
        source = f"{source}[{split}]"
    for number, record in read:
        where = f"{source}:{number}"
        ours = known.recognised(record, number, where) if recognise else record
        # Tables often have no ids: there the record's number is one.
        yield where, ({"id": number, **ours} if is_table else ours)


def _parquet_records(path: Path) -> list[Record]:
    import pyarrow  # needed by few runs, and slow to import
    import pyarrow.parquet

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; needed: a .parquet file.")
    try:
        return cast(list[Record], pyarrow.parquet.read_table(path).to_pylist())
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a readable parquet file: {error}.") from error
