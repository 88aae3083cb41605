"""Which layers stand between a program and this machine, as `acim doctor` reports it."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from typing import Any

from acim_jax.environment import child


def report(modules: Sequence[str], workers: int) -> dict[str, Any]:
    """The executor's layers of protection, each true if it is in force on this machine."""
    linux = child.IS_LINUX
    return {
        "protection": "limits" if linux else "limits without memory",
        "layers": {
            "cpu_and_wall_time": True,
            "process_group": True,
            "clean_environment": True,
            "scratch_folder": True,
            "file_size_and_count_of_open_files": True,
            "memory": linux,
            "adoption_of_escaped_processes": linux,
            "no_new_privileges": False,
            "landlock": False,
            "seccomp": False,
            "namespaces": False,
            "user_change": False,
        },
        "root": os.geteuid() == 0,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "modules": {name: _version(name) for name in modules},
        "workers": workers,
    }


def _version(module: str) -> str:
    names = importlib.metadata.packages_distributions().get(module)
    return importlib.metadata.version(names[0]) if names else "unknown"
