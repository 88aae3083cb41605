"""Problems from files, hubs and generators, checked row by row before any of them is returned."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

from acim_jax.data import generated, hub, known, reasoning_gym, rows
from acim_jax.data.config import DataConfig, is_endless
from acim_jax.files import jsonl
from acim_jax.records import Problem


def load_split(config: DataConfig, split: generated.Split) -> list[Problem]:
    """All problems of one split of a config; an id may stand in one source only (ValueError)."""
    sources = cast(tuple[str, ...], getattr(config, split))
    limit = cast(int | None, getattr(config, f"num_{split}"))
    problems: list[Problem] = []
    origins: dict[str, str] = {}
    for source in sources:
        for problem in load(
            source, split=split, limit=limit, seed=config.seed, mapping=config.mapping
        ):
            if problem.id in origins:
                raise ValueError(
                    f"data.{split}: id {problem.id!r} stands in {origins[problem.id]} and in "
                    f"{source}; ids must differ, or rename one of them."
                )
            origins[problem.id] = source
            problems.append(problem)
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

    source: a `.jsonl`, `.jsonl.gz` or `.parquet` file, a data set known by name (`known.HUB`) or a
    `datasets` hub name, with its `split`, `generated:arithmetic` or `reasoning-gym:NAME` (both need
    `limit`; `split` and `seed` choose the problems). mapping: our field name -> the name in the
    rows; without it, rows in the form of a known data set are recognised. Unknown fields go to
    `extra`. FileNotFoundError for a missing file and for a hub that does not answer; ValueError
    naming source, line and field for a bad row.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"{source}: the number of problems must be at least 1, got {limit}.")
    if is_endless(source):
        return _generate(source, split, limit, seed)
    rows.check_mapping(mapping or {})
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for where, row in _rows(source, split, recognise=not mapping):
        problem = rows.to_problem(row, where, mapping or {})
        if problem.id in places:
            raise ValueError(f"{where}: id {problem.id!r} was used at {places[problem.id]}.")
        places[problem.id] = where
        problems.append(problem)
    if not problems:
        raise ValueError(f"{source} holds no problems.")
    return problems[:limit]


def _generate(source: str, split: str, limit: int | None, seed: int) -> list[Problem]:
    if limit is None:
        raise ValueError(f"{source!r} has no end: say how many problems are wanted.")
    if source.startswith(reasoning_gym.PREFIX):
        return reasoning_gym.load(
            source.removeprefix(reasoning_gym.PREFIX), limit, split=split, seed=seed
        )
    name = source.removeprefix(generated.PREFIX)
    if name not in generated.NAMES:
        raise ValueError(f"{source!r}: generated problems are {', '.join(generated.NAMES)}.")
    return generated.generate(split, limit, seed=seed)


def _rows(source: str, split: str, *, recognise: bool) -> Iterator[tuple[str, rows.Row]]:
    path = Path(source)
    if source in known.HUB and recognise:
        yield from hub.known_rows(source, split)
        return
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        read: Iterable[tuple[int, rows.Row]] = jsonl.read(path)
        numbered = False
    elif path.suffix == ".parquet":
        read, numbered = enumerate(_parquet_rows(path), start=1), True
    elif path.exists() or path.suffix in (".json", ".csv", ".gz", ".txt", ".yaml"):
        raise ValueError(
            f"{source}: problems come as .jsonl, .jsonl.gz, .parquet, a datasets hub name, "
            f"{generated.PREFIX}NAME or {reasoning_gym.PREFIX}NAME."
        )
    else:
        read, numbered = enumerate(hub.rows(source, split), start=1), True
        source = f"{source}[{split}]"
    for number, row in read:
        where = f"{source}:{number}"
        ours = known.recognised(row, number, where) if recognise else row
        # Tables of others often have no ids: there the row's number is one.
        yield where, ({"id": number, **ours} if numbered else ours)


def _parquet_rows(path: Path) -> list[rows.Row]:
    import pyarrow  # needed by few runs, and slow to import
    import pyarrow.parquet

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; needed: a .parquet file.")
    try:
        return cast(list[rows.Row], pyarrow.parquet.read_table(path).to_pylist())
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a readable parquet file: {error}.") from error
