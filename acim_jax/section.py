"""How every section of a config is declared, and the kinds of fields that several share.

A section is a frozen dataclass. Pydantic checks its fields whenever one is made, from a file or in
code: kinds strictly, constraints, unknown names. The text under a field documents it; `acim config`
and docs/config.md show that text.
"""

import dataclasses
import typing
from typing import Annotated, TypeVar

import pydantic
import pydantic.dataclasses
from annotated_types import Ge, Gt, Le

T = TypeVar("T")

_SETTINGS = pydantic.ConfigDict(
    strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
)


@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def section(cls: type[T]) -> type[T]:
    """The decorator of a section. Making one raises `pydantic.ValidationError`, a `ValueError`."""
    made = pydantic.dataclasses.dataclass(frozen=True, config=_SETTINGS)(cls)
    # Pydantic finds the texts of a class's own fields only; a section that extends this one has
    # them from here.
    for name, info in made.__pydantic_fields__.items():
        field = made.__dataclass_fields__[name]
        field.type = Annotated[field.type, pydantic.Field(description=info.description)]  # pyright: ignore[reportAttributeAccessIssue]
    return typing.cast(type[T], made)


def _rising(widths: tuple[int, ...]) -> tuple[int, ...]:
    if not widths or sorted(set(widths)) != list(widths):
        raise ValueError(f"must be distinct widths in rising order, got {list(widths)}")
    return widths


AtLeastOne = Annotated[int, Ge(1)]
NotNegative = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
Weight = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Widths = Annotated[tuple[AtLeastOne, ...], pydantic.AfterValidator(_rising)]
