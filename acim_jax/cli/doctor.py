"""`acim doctor`: what this machine offers to training, to the executor, and to the tests."""

import argparse
import json
import shutil
import sys
from typing import Any

import jax

from acim_jax.config import tree as config_tree
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
        print(config_tree.dump(found), end="", file=sys.stderr)
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
        "devices": [
            {
                "id": device.id,
                "platform": device.platform,
                "kind": device.device_kind,
                # CPU devices report no memory of their own.
                "memory_bytes": (device.memory_stats() or {}).get("bytes_limit"),
            }
            for device in jax.devices()
        ],
        "compilation_cache": None if cache is None else str(cache),
        "executor": executor.probe(ExecutorConfig()),
        "browser": next((path for path in browsers if path), None),
    }
