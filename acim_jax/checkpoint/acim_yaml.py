"""`acim.yaml`: the `Markup` a model was trained with, kept beside its `config.json`."""

import dataclasses
import difflib
from pathlib import Path

import pydantic
import yaml

from acim_jax.markup import Markup

NAME = "acim.yaml"


def read_markup(folder: Path) -> Markup | None:
    """The folder's markup, None where it has none; fields left out keep their default.

    ValueError names file, field and, for an unknown field, the nearest known one.
    """
    file = folder / NAME
    if not file.is_file():
        return None
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold the fields of a markup, got {content!r}.")
    known = [field.name for field in dataclasses.fields(Markup)]
    for name in content:
        if name not in known:
            nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
            raise ValueError(f"{file}: unknown field {name!r}; the nearest known is {nearest!r}.")
    try:
        return pydantic.TypeAdapter(Markup).validate_python(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "markup"
        raise ValueError(f"{file}: {field}: {first['msg']}, got {first['input']!r}.") from error


def write_markup(folder: Path, markup: Markup) -> None:
    """Writes the folder's `acim.yaml`."""
    fields = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(markup).items()
    }
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    (folder / NAME).write_text(text, encoding="utf-8")
