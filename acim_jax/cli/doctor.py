"""`acim doctor`: what this machine offers to training, to the executor, and to the tests."""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import jax

from acim_jax.environment import executor
from acim_jax.environment.config import ExecutorConfig
from acim_jax.run import compilation, manifest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def run(args: argparse.Namespace) -> int:
    """Prints the findings; always 0, since a missing thing is a finding."""
    found = examine()
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        print(render(found), file=sys.stderr)
    return 0


def examine() -> dict[str, Any]:
    """Versions, hardware, devices, compilation cache, executor protection, browser."""
    cache = compilation.enable_cache()
    browsers = (shutil.which(name) for name in _BROWSERS)
    return {
        "python": sys.version.split()[0],
        "packages": manifest.package_versions(),
        "commit": manifest.git_commit(),
        "hardware": manifest.hardware(),
        "devices": [_device(device) for device in jax.devices()],
        "compilation_cache": None if cache is None else str(cache),
        "executor": executor.probe(ExecutorConfig()),
        "browser": next((path for path in browsers if path), None),
    }


def render(found: Mapping[str, Any], indent: str = "") -> str:
    """`found` as indented lines for people."""
    lines: list[str] = []
    for key, value in found.items():
        label = f"{indent}{key.replace('_', ' ')}"
        match value:
            case dict() if value:
                lines += [f"{label}:", render(value, indent + "  ")]
            case list() if any(isinstance(item, dict) for item in value):
                lines.append(f"{label}:")
                lines += [
                    f"{indent}  - " + ", ".join(f"{k} {_word(v)}" for k, v in item.items())
                    for item in value
                ]
            case list():
                lines.append(f"{label}: {', '.join(map(str, value)) or 'none'}")
            case dict():
                lines.append(f"{label}: none")
            case _:
                lines.append(f"{label}: {_word(value)}")
    return "\n".join(lines)


def _device(device: Any) -> dict[str, Any]:
    """A jax device in words. CPU devices report no memory of their own."""
    memory = device.memory_stats() or {}
    return {
        "id": device.id,
        "platform": device.platform,
        "kind": device.device_kind,
        "memory_bytes": memory.get("bytes_limit"),
    }


def _word(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
