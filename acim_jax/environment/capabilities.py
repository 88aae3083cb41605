"""What protects this machine from programs, as `acim doctor` reports it."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from acim_jax.environment.sandbox import kernel, protection

#: What stops the threats of a layer where the layer is missing.
FALLBACKS: Mapping[protection.Layer, str] = {
    "namespaces": "seccomp and Landlock refuse network, processes and signals; a subreaper ends "
    "what escapes; programs see process ids of the host",
    "private_files": "Landlock holds files; the scratch folder lies on the host's disk and is "
    "measured ten times a second",
    "user_change": "programs run as this user: seccomp and Landlock keep them from its files and "
    "processes",
    "no_capabilities": "none",
    "no_new_privileges": "none: Landlock and seccomp need it",
    "landlock": "file permissions, and the file view of a namespace where there is one",
    "seccomp": "Landlock holds files and TCP; sub-processes are ended with the program",
}


def report(
    modules: Sequence[str], workers: int, missing: Mapping[protection.Layer, str]
) -> dict[str, Any]:
    """The executor's layers of protection, each true if it is in force on this machine.

    missing: reason by layer that is not, as a fork server found it.
    """
    held = {name: name not in missing for name in protection.LAYERS}
    return {
        "protection": protection.level(held),
        "layers": {
            "cpu_and_wall_time": True,
            "process_group": True,
            "clean_environment": True,
            "scratch_folder": True,
            "file_size_and_count_of_open_files": True,
            "memory": kernel.IS_LINUX,
            "adoption_of_escaped_processes": kernel.IS_LINUX,
            **held,
        },
        "missing": dict(missing),
        "instead": {name: FALLBACKS[name] for name in missing},
        "root": os.geteuid() == 0,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "modules": {name: version(name) for name in modules},
        "workers": workers,
    }


def version(module: str) -> str:
    """The installed version of the package that holds a top-level module."""
    names = importlib.metadata.packages_distributions().get(module)
    return importlib.metadata.version(names[0]) if names else "unknown"
