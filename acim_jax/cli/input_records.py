"""The JSON Lines that commands read, checked."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from acim_jax.files import jsonl


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
