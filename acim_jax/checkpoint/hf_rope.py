"""The RoPE fields of a `config.json`, as transformers 4 and 5 spell them.

Version 5 has `rope_parameters` with everything in it; version 4 has `rope_theta`, and
`rope_scaling` (its kind as `rope_type` or `type`) where positions are stretched.
"""

import dataclasses
from pathlib import Path
from typing import Any

from acim_jax.checkpoint import hf_fields
from acim_jax.model import rope_scaling

_KINDS: dict[type[rope_scaling.Scaling], str] = {
    rope_scaling.Linear: "linear",
    rope_scaling.Dynamic: "dynamic",
    rope_scaling.Llama3: "llama3",
    rope_scaling.Yarn: "yarn",
}
_ORIGINAL = "original_max_position_embeddings"


def read(
    content: dict[str, Any], max_positions: int, file: Path
) -> tuple[float, rope_scaling.Scaling | None]:
    """θ, and how positions are stretched (None: not at all).

    max_positions: the file's `max_position_embeddings`. ValueError names file and field.
    """
    name = "rope_scaling" if content.get("rope_scaling") else "rope_parameters"
    given = content.get(name) or {}
    if not isinstance(given, dict):
        raise ValueError(f"{file}: {name} must be an object, got {given!r}.")
    given = {"rope_theta": content.get("rope_theta"), **given}
    kind = given.get("rope_type") or given.get("type") or "default"
    if any(isinstance(value, dict) for value in given.values()):
        raise ValueError(
            f"{file}: {name} = {given!r} is not supported; supported: one RoPE for all layers."
        )
    supported = ("default", *_KINDS.values())
    if kind not in supported:
        raise ValueError(
            f"{file}: {name} of type {kind!r} is not supported; supported: {', '.join(supported)}."
        )
    for source in (content, given):
        if source.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise ValueError(
                f"{file}: partial_rotary_factor = {source['partial_rotary_factor']!r} is not "
                "supported; supported: 1."
            )
    theta = hf_fields.real(given, "rope_theta", file, 10000.0)
    # Some files state it beside the other fields; it counts before the one among them.
    if content.get(_ORIGINAL) is not None:
        given[_ORIGINAL] = content[_ORIGINAL]
    return theta, _scaling(kind, given, max_positions, file)


def _scaling(
    kind: str, given: dict[str, Any], max_positions: int, file: Path
) -> rope_scaling.Scaling | None:
    def number(field: str, default: float | None = None) -> float:
        return hf_fields.real(given, field, file, default)

    if kind == "default":
        return None
    if kind == "linear":
        return rope_scaling.Linear(number("factor"))
    if kind == "dynamic":
        return rope_scaling.Dynamic(number("factor"), max_positions)
    original = hf_fields.whole(given, _ORIGINAL, file, max_positions)
    if kind == "llama3":
        low, high = number("low_freq_factor"), number("high_freq_factor")
        if low >= high:
            raise ValueError(
                f"{file}: high_freq_factor ({high}) must exceed low_freq_factor ({low})."
            )
        return rope_scaling.Llama3(number("factor"), low, high, original)
    return rope_scaling.Yarn(
        factor=number("factor", max_positions / original),
        original_positions=original,
        beta_fast=number("beta_fast", 32.0),
        beta_slow=number("beta_slow", 1.0),
        attention_factor=hf_fields.optional_real(given, "attention_factor", file),
        mscale=hf_fields.optional_real(given, "mscale", file),
        mscale_all_dim=hf_fields.optional_real(given, "mscale_all_dim", file),
        truncate=hf_fields.flag(given, "truncate", file, True),
    )


def write(theta: float, scaling: rope_scaling.Scaling | None) -> dict[str, Any]:
    """The fields for readers of both versions."""
    given = _fields(scaling)
    fields = {"rope_parameters": {"rope_theta": theta, **given}, "rope_theta": theta}
    return fields if scaling is None else fields | {"rope_scaling": given}


def _fields(scaling: rope_scaling.Scaling | None) -> dict[str, Any]:
    """Of the optional ones, those that are not at their default."""
    if scaling is None:
        return {"rope_type": "default"}
    given: dict[str, Any] = {"rope_type": _KINDS[type(scaling)]}
    for field in dataclasses.fields(scaling):
        value = getattr(scaling, field.name)
        if field.name == "original_positions":
            # Dynamic RoPE grows from the file's own max_position_embeddings.
            given |= {} if isinstance(scaling, rope_scaling.Dynamic) else {_ORIGINAL: value}
        elif value != field.default:
            given[field.name] = value
    return given
