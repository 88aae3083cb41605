"""The problems and JSON Lines that commands read, checked."""

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from acim_jax.cli import checks
from acim_jax.data import problems as problem_files
from acim_jax.files import jsonl
from acim_jax.grading import golds
from acim_jax.records import Problem

#: Of generated problems; not of sampling, so that several seeds are judged on the same problems.
DATA_SEED = 0


@dataclasses.dataclass(frozen=True)
class InputRecord:
    """A record with its id. where: its file and line, for messages."""

    id: object
    where: str
    fields: Mapping[str, object]

    def text(self, field: str) -> str:
        """A field of text; ValueError if it is missing or no text."""
        value = self.fields.get(field)
        if not isinstance(value, str):
            got = f"got {type(value).__name__}" if field in self.fields else "it is missing"
            raise ValueError(f'{self.where}: field "{field}" must be text, {got}.')
        return value


def read(path: Path) -> list[InputRecord]:
    """All records; ValueError, naming file and line, for an id that is missing or cannot be
    written, and as in `jsonl.read`."""
    records: list[InputRecord] = []
    for line, record in jsonl.read(path):
        where = f"{path}:{line}"
        if "id" not in record:
            raise ValueError(f'{where}: field "id" is missing.')
        try:
            str(record["id"]).encode()
        except UnicodeEncodeError:
            raise ValueError(f'{where}: field "id" holds half a surrogate pair.') from None
        records.append(InputRecord(record["id"], where, record))
    return records


def problems(args: argparse.Namespace, *, split: str = "test") -> dict[str, list[Problem]]:
    """The problems of --data, by source, of which --limit and --map say how many and how to read
    them; those of generators and hubs are of `split`. Those whose gold fails are left out."""
    mapping: dict[str, str] = {}
    for pair in args.map:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise ValueError(f"--map takes OURS=THEIRS, e.g. problem=question; got {pair!r}.")
        mapping[ours] = theirs
    data: dict[str, list[Problem]] = {}
    for source in args.data:
        if source in data:
            raise ValueError(f"--data names {source} twice.")
        data[source] = problem_files.load(
            source, split=split, limit=args.limit, seed=DATA_SEED, mapping=mapping or None
        )
        for problem in data[source]:
            checks.check_text(problem.question, f"{source}: problem {problem.id!r}")
    # An own reward may read its references otherwise.
    return data if getattr(args, "grader.reward", "") else golds.usable(data)
