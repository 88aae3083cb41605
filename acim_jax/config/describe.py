"""Every field of a run's config: type, default, and what it is.

python -m acim_jax.config.describe > docs/config.md
"""

import json
from typing import Any, NamedTuple

from acim_jax.config import kinds
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


def _kinds() -> dict[str, kinds.Kind]:
    """Every section by name; the top's name is empty. Of a list of sections, theirs."""
    found: dict[str, kinds.Kind] = {}

    def add(name: str, kind: kinds.Kind) -> None:
        kind = kinds.without_null(kind)
        kind = kind.get("items", kind)
        if kinds.is_section(kind):
            found[name] = kind
            for field, inner in kind["properties"].items():
                add(f"{name}.{field}" if name else field, inner)

    add("", kinds.of(RunConfig))
    return found


def sections() -> dict[str, str]:
    """The name of every section, and what it is; the top's name is empty."""
    return {name: kind["description"] for name, kind in _kinds().items()}


def fields() -> list[Field]:
    """All fields: those at the top, then section by section."""
    return [
        Field(
            section,
            name,
            kinds.words(kind, bounds=True),
            kind.get("default", {}),  # a default that is not stated is an empty mapping
            " ".join(kind["description"].split()),
        )
        for section, of in _kinds().items()
        for name, kind in of["properties"].items()
        if not kinds.is_section(kind)
    ]


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
