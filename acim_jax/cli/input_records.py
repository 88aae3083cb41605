"""Fields of the JSON records that commands read, checked."""

from collections.abc import Mapping


def record_id(record: Mapping[str, object], where: str) -> object:
    """The id of a record; ValueError with its place if it is missing or cannot be written."""
    if "id" not in record:
        raise ValueError(f'{where}: field "id" is missing.')
    try:
        str(record["id"]).encode()
    except UnicodeEncodeError:
        raise ValueError(f'{where}: field "id" holds half a surrogate pair.') from None
    return record["id"]


def text_field(record: Mapping[str, object], field: str, where: str) -> str:
    """A text field of a record; ValueError with its place if it is missing or no text."""
    value = record.get(field)
    if not isinstance(value, str):
        got = f"got {type(value).__name__}" if field in record else "it is missing"
        raise ValueError(f'{where}: field "{field}" must be text, {got}.')
    return value
