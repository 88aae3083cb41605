"""`acim.yaml`: the `Markup` a model was trained with, kept beside its `config.json`."""

from pathlib import Path

import pydantic
import yaml

from acim_jax.markup import Markup, templates

NAME = "acim.yaml"


def read_markup(folder: Path) -> Markup | None:
    """The folder's markup, None where it has none. Fields left out are those of the template that
    `name` names, without it the defaults.

    ValueError names file, field and, for an unknown field or template, the nearest known one.
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
    return templates.from_fields({str(name): value for name, value in content.items()}, str(file))


def write_markup(folder: Path, markup: Markup) -> None:
    """Writes the folder's `acim.yaml`."""
    fields = pydantic.TypeAdapter(Markup).dump_python(markup, mode="json", exclude={"functions"})
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    (folder / NAME).write_text(text, encoding="utf-8")
