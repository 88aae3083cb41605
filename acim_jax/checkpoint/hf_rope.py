"""The RoPE fields of a `config.json`, as transformers 4 and 5 spell them.

Version 5 has `rope_parameters` with everything in it; version 4 has `rope_theta`, and
`rope_scaling` (its kind as `rope_type` or `type`) where positions are stretched.
"""

import dataclasses
import math
from typing import Any

from acim_jax.checkpoint.hf_fields import Fields
from acim_jax.model import rope_scaling

_KINDS: dict[str, type[rope_scaling.Scaling]] = {
    "linear": rope_scaling.Linear,
    "dynamic": rope_scaling.Dynamic,
    "llama3": rope_scaling.Llama3,
    "yarn": rope_scaling.Yarn,
}
_ORIGINAL = "original_max_position_embeddings"


def read(content: Fields, max_positions: int) -> tuple[float, rope_scaling.Scaling | None]:
    """θ, and how positions are stretched (None: not at all). max_positions: the file's
    `max_position_embeddings`. ValueError names file and field."""
    file = content.file
    name = "rope_scaling" if content.get("rope_scaling") else "rope_parameters"
    own = content.get(name) or {}
    if not isinstance(own, dict):
        raise ValueError(f"{file}: {name} must be an object, got {own!r}.")
    if any(isinstance(value, dict) for value in own.values()):
        raise ValueError(
            f"{file}: {name} = {own!r} is not supported; supported: one RoPE for all layers."
        )
    # Some files state it beside the other fields; it counts before the one among them.
    original = content.get(_ORIGINAL, own.get(_ORIGINAL))
    beside = {"rope_theta": content.get("rope_theta")}
    given = Fields({**beside, **own, _ORIGINAL: original}, file)
    given.refuse_unsupported({"partial_rotary_factor": (1,)})
    kind = given.get("rope_type") or given.get("type", "default")
    if kind not in ("default", *_KINDS):
        raise ValueError(
            f"{file}: {name} of type {kind!r} is not supported; supported: default, "
            f"{', '.join(_KINDS)}."
        )
    theta = given.real("rope_theta", 10000.0)
    return theta, None if kind == "default" else _scaling(_KINDS[kind], given, max_positions)


def _scaling(
    kind: type[rope_scaling.Scaling], given: Fields, max_positions: int
) -> rope_scaling.Scaling:
    original = max_positions
    if kind in (rope_scaling.Llama3, rope_scaling.Yarn):
        original = given.whole(_ORIGINAL, max_positions)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        match field.name:
            case "original_positions":
                values[field.name] = original
            case "truncate":
                values[field.name] = given.flag(field.name, True)
            case "factor" if kind is rope_scaling.Yarn:
                values[field.name] = given.real(field.name, max_positions / original)
            case name if field.default is dataclasses.MISSING or given.get(name) is not None:
                values[name] = given.real(name)
    low, high = values.get("low_freq_factor", 0), values.get("high_freq_factor", math.inf)
    if low >= high:
        raise ValueError(
            f"{given.file}: high_freq_factor ({high}) must exceed low_freq_factor ({low})."
        )
    return kind(**values)


def write(theta: float, scaling: rope_scaling.Scaling | None) -> dict[str, Any]:
    """The fields for readers of both versions."""
    given = _fields(scaling)
    fields = {"rope_parameters": {"rope_theta": theta, **given}, "rope_theta": theta}
    return fields if scaling is None else fields | {"rope_scaling": given}


def _fields(scaling: rope_scaling.Scaling | None) -> dict[str, Any]:
    """Of the optional ones, those that are not at their default."""
    if scaling is None:
        return {"rope_type": "default"}
    (name,) = (name for name, kind in _KINDS.items() if kind is type(scaling))
    given: dict[str, Any] = {"rope_type": name}
    for field in dataclasses.fields(scaling):
        value = getattr(scaling, field.name)
        if field.name == "original_positions":
            # Dynamic RoPE grows from the file's own max_position_embeddings.
            given |= {} if isinstance(scaling, rope_scaling.Dynamic) else {_ORIGINAL: value}
        elif value != field.default:
            given[field.name] = value
    return given
