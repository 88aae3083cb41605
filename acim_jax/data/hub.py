"""Records from the Hugging Face hub, through `datasets` and its cache."""

from collections.abc import Iterable, Iterator
from typing import cast

from acim_jax.data import known
from acim_jax.data.problem_records import Record


def known_records(name: str, split: str) -> Iterator[tuple[str, Record]]:
    """Place and record, in our fields, of a data set of `known.DATA_SETS`.

    ValueError for a split that it lacks; FileNotFoundError where neither hub nor cache has it.
    """
    data = known.DATA_SETS[name]
    if split not in data.splits:
        raise ValueError(
            f"{name} has no split {split!r}; it has {', '.join(data.splits)}. Give it for another "
            "part of data, or a file of your own."
        )
    number = 0
    for config in data.configs:
        for record in _load(data.repository, config, data.splits[split], name):
            where = f"{name}[{split}]:{number}"
            yield where, known.from_hub(name, record, split, number, where)
            number += 1


def records(name: str, split: str) -> Iterable[Record]:
    """The records of any data set on the hub. FileNotFoundError where it does not load."""
    return _load(name, None, split, name)


def _load(repository: str, config: str | None, split: str, source: str) -> Iterable[Record]:
    import datasets  # needed by few runs, and slow to import

    try:
        return cast(Iterable[Record], datasets.load_dataset(repository, config, split=split))
    except (OSError, ValueError) as error:
        if source == repository:
            raise FileNotFoundError(
                f"{source!r} is neither a file nor a data set of the hub that loads here with "
                f"split {split!r} (known by name are {', '.join(known.DATA_SETS)}): {error}"
            ) from error
        what = f"{repository}, configuration {config}" if config else repository
        raise FileNotFoundError(
            f"{source!r} is {what}, split {split!r}, of the Hugging Face hub, and does not load "
            f"here ({error}). Without a network, load it once where there is one and copy the "
            "cache of `datasets` (HF_DATASETS_CACHE), or give a .jsonl or .parquet file of it: its "
            "fields are recognised."
        ) from error
