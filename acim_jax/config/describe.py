"""Every field of a run's config: type, default, and what it is.

python -m acim_jax.config.describe > docs/config.md
"""

import inspect
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from acim_jax.config import kinds, schema
from acim_jax.config.run import RunConfig

_HEAD = """\
# The config

Every field of a run's config. A file holds any of them, as YAML; `extends: other.yaml` takes the
rest from another file, and `acim train CONFIG --section.field VALUE` overrides both. `acim config
[SECTION]` prints this list. An experiment's `base` and `arms` hold the same fields.

Written by `python -m acim_jax.config.describe > docs/config.md`.
"""


class Field(NamedTuple):
    """section: empty at the top. default: as YAML and JSON write it."""

    section: str
    name: str
    type: str
    default: Any
    text: str

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}" if self.section else self.name


def sections() -> dict[str, str]:
    """The name of every section, and what it is; the top's name is empty."""
    found = {"": inspect.getdoc(RunConfig) or ""}
    for name in kinds.fields(RunConfig):
        section = kinds.section_of(kinds.at(RunConfig, [name]))
        if section is not None:
            found[name] = inspect.getdoc(section) or ""
    return found


def fields() -> list[Field]:
    """All fields: those at the top, then section by section."""
    found = [Field("", *rest) for rest in _fields(RunConfig)]
    for name in sections():
        if name:
            section = kinds.section_of(kinds.at(RunConfig, [name]))
            found += [Field(name, *rest) for rest in _fields(section)]
    return found


def _fields(section: Any) -> Iterator[tuple[str, str, Any, str]]:
    for name, info in section.__pydantic_fields__.items():
        text = " ".join((info.description or "").split())
        default = schema.plain(info.get_default(call_default_factory=True))
        annotation = kinds.at(section, [name])
        if text:  # a section's own text stands at its class
            yield name, kinds.words(annotation, bounds=True), default, text


def markdown() -> str:
    """docs/config.md."""
    lines = [_HEAD]
    every = fields()
    for name, text in sections().items():
        lines += [f"## {name}\n" if name else "", text, ""]
        lines += ["| field | type | default | |", "|-|-|-|-|"]
        for one in every:
            if one.section == name:
                default = json.dumps(one.default, ensure_ascii=False)
                lines.append(f"| `{one.name}` | {one.type} | `{default}` | {one.text} |")
        lines.append("")
    return "\n".join(lines).replace("\n\n\n", "\n\n")


if __name__ == "__main__":
    print(markdown(), end="")
