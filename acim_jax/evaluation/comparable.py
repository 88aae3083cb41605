"""What must be equal for the numbers of two evaluations to be compared. No jax here.

Not the model, its weights, seeds, samples or slots: those are what is compared, or only noise.
Files count by what they hold, so folders and machines change nothing.
"""

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: Packages that prompts, samples and verdicts come from.
PACKAGES = ("acim-jax", "jax", "transformers", "math-verify")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "max_length", "dtype")
#: Sections, and fields of them that decide no number: hints are for demonstrations, the rest is
#: about this machine.
_WITHOUT_EFFECT = {
    "markup": ("text_hint", "code_hint", "reflection"),
    # Of tools and reward the paths; `own` says what stands there.
    "executor": ("workers", "waiting", "max_infra_rate", "min_protection", "tools"),
    "grader": ("reward",),
    "own": (),
}

Parts = Mapping[str, Any]


def parts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The `comparable` of results.json, from an evaluation's settings (`pipeline.settings_of`)."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    sections = {
        section: {k: v for k, v in settings[section].items() if k not in without}
        for section, without in _WITHOUT_EFFECT.items()
    }
    return {
        **sections,
        "sampling": {name: settings[name] for name in _SAMPLING},
        "versions": versions,
        "data": sorted(settings["data"].values()),
    }


def fingerprint(of: Parts) -> str:
    """12 hex digits over the parts, whatever the order of their keys."""
    content = json.dumps(of, sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def differing(several: Sequence[Parts]) -> list[str]:
    """The names of the parts, `section.field`, that are not equal in all, sorted."""
    tables = [dict(_leaves(one)) for one in several]
    names = sorted({name for table in tables for name in table})
    return [name for name in names if len({table.get(name) for table in tables}) > 1]


def _leaves(of: Parts, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names, with values as JSON: a list and the tuple it was are equal."""
    for name, value in of.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value)
