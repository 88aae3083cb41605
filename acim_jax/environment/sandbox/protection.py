"""The layers of protection between a program and its host, and the levels that they add up to.

A layer is one mechanism of the kernel. `confinement.py` finds out which of them a host offers and
puts them on children; docs/executor.md says which threat each of them holds.
"""

from collections.abc import Mapping
from typing import Literal, get_args

Layer = Literal[
    "namespaces",
    "private_files",
    "user_change",
    "no_capabilities",
    "no_new_privileges",
    "landlock",
    "seccomp",
]
Level = Literal["limits", "filtered", "confined", "isolated"]

LAYERS: tuple[Layer, ...] = get_args(Layer)
#: From the least protection to the most.
LEVELS: tuple[Level, ...] = get_args(Level)

_FILTERED: tuple[Layer, ...] = ("no_new_privileges", "no_capabilities", "seccomp")
#: What a level needs beside resource limits, a clean environment and the clock of the server.
_NEEDS: Mapping[Level, tuple[Layer, ...]] = {
    "limits": (),
    "filtered": _FILTERED,
    "confined": (*_FILTERED, "landlock"),
    "isolated": (*_FILTERED, "landlock", "namespaces", "private_files"),
}


def level(held: Mapping[str, bool]) -> Level:
    """The highest level whose layers are all held."""
    reached: list[Level] = [name for name in LEVELS if all(held[layer] for layer in _NEEDS[name])]
    return reached[-1]
