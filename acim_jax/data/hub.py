"""Rows from the Hugging Face hub, through `datasets` and its cache."""

from collections.abc import Iterable, Iterator
from typing import cast

from acim_jax.data import known
from acim_jax.data.rows import Row


def known_rows(name: str, split: str) -> Iterator[tuple[str, Row]]:
    """Place and row, in our fields, of a data set of `known.HUB`.

    ValueError for a split that it lacks; FileNotFoundError where neither hub nor cache has it.
    """
    data = known.HUB[name]
    if split not in data.splits:
        raise ValueError(
            f"{name} has no split {split!r}; it has {', '.join(data.splits)}. Give it for another "
            "part of data, or a file of your own."
        )
    number = 0
    for config in data.configs:
        for row in _load(data.repository, config, data.splits[split], name):
            where = f"{name}[{split}]:{number}"
            yield where, known.from_hub(name, row, split, number, where)
            number += 1


def rows(name: str, split: str) -> Iterable[Row]:
    """The rows of any data set on the hub. FileNotFoundError where it does not load."""
    return _load(name, None, split, name)


def _load(repository: str, config: str | None, split: str, source: str) -> Iterable[Row]:
    import datasets  # needed by few runs, and slow to import

    try:
        return cast(Iterable[Row], datasets.load_dataset(repository, config, split=split))
    except (OSError, ValueError) as error:
        what = f"{repository}, configuration {config}" if config else repository
        if source == repository:
            raise FileNotFoundError(
                f"{source!r} is neither a file nor a data set of the hub that loads here with "
                f"split {split!r} (known by name are {', '.join(known.HUB)}): {error}"
            ) from error
        raise FileNotFoundError(
            f"{source!r} is {what}, split {split!r}, of the Hugging Face hub, and does not load "
            f"here ({error}). Without a network, load it once where there is one and copy the "
            "cache of `datasets` (HF_DATASETS_CACHE), or give a .jsonl or .parquet file of it: its "
            "fields are recognised."
        ) from error
