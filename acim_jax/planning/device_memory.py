"""The memory of this machine's devices, and the refusal of runs that do not fit into it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from acim_jax.planning.memory import Exploring, Improving

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def available(devices: Sequence[Any] | None = None) -> int:
    """Bytes that each device may use; virtual CPU devices share the host's memory evenly.

    devices: those of this process by default. A GPU's figure is the share of its memory that the
    process may take (XLA_PYTHON_CLIENT_MEM_FRACTION).
    """
    devices = jax.local_devices() if devices is None else devices
    limits: list[int] = []
    for device in devices:
        stats = device.memory_stats()
        limits.append(host_bytes() // len(devices) if not stats else stats["bytes_limit"])
    return min(limits)


def host_bytes(limit_file: Path = _CGROUP_LIMIT) -> int:
    """Bytes of the machine's memory, or of the part of it that this control group may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = limit_file.read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdecimal() else physical


def check(exploring: Exploring, improving: Improving | None, limit: int) -> None:
    """ValueError if what the devices must hold, estimates aside, is more than `limit` bytes each.
    improving: None where nothing is trained."""
    if exploring.certain > limit:
        held = f", beside {human(exploring.held)} of training" if exploring.held else ""
        raise ValueError(
            f"sampling: each device would hold {human(exploring.weights)} of weights and "
            f"{human(exploring.pages)} of key/value cache{held}, and has {human(limit)}. Take "
            "fewer slots (sampling.slots, sampling.spare; --slots), shorter rows "
            "(sampling.max_length; --max-length), sampling.kv_cache: int8, or more devices "
            "(mesh.tensor, mesh.fsdp)."
        )
    if improving is not None and improving.certain > limit:
        raise ValueError(
            f"improve: each device would hold {human(improving.weights + improving.base)} of "
            f"weights, {human(improving.moments)} of moments and {human(improving.gradients)} of "
            f"gradients, and has {human(limit)}. Split them over more devices (mesh.fsdp, "
            "mesh.tensor), or train adapters (lora)."
        )


def describe(exploring: Exploring, limit: int) -> str:
    """The sampler's memory in one line."""
    held = f", {human(exploring.held)} held by training" if exploring.held else ""
    return (
        f"sampler, per device: {human(exploring.weights)} weights, {human(exploring.pages)} "
        f"key/value cache, about {human(exploring.working)} working{held}; a device has "
        f"{human(limit)}"
    )


def human(count: int | float) -> str:
    """Bytes in a unit that suits them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
