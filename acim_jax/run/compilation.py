"""Executables that XLA makes: their persistent cache, and a counter of them."""

import logging
import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.monitoring

log = logging.getLogger(__name__)

# Fires once for every executable that is compiled or read from the persistent cache (the timer
# stands around both), and not for one that is in memory.
COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
MAX_CACHE_BYTES = 4 * 2**30


def cache_folder() -> Path:
    """`$ACIM_CACHE/xla`, else `~/.cache/acim_jax/xla`."""
    root = os.environ.get("ACIM_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "acim_jax") / "xla"


def enable_cache(folder: Path | None = None) -> Path | None:
    """Keeps executables in `folder` (`cache_folder()` by default) from now on.

    Returns the folder, or None where it cannot be written: then every process compiles anew. The
    size limit also switches on the cache's file lock, without which a process may read what
    another one has half-written.
    """
    folder = cache_folder() if folder is None else folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        log.warning("executables are not kept: %s cannot be written", folder)
        return None
    jax.config.update("jax_compilation_cache_max_size", MAX_CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


class Compiled(NamedTuple):
    """executables: compiled or loaded from the persistent cache. seconds: what that took."""

    executables: int
    seconds: float


class CompileCounter:
    """Counts executables made in this process between `__enter__` and `close`.

    A warm iteration must count 0: neither compiled nor loaded.
    """

    def __init__(self) -> None:
        self._count = 0
        self._seconds = 0.0

    def __enter__(self) -> "CompileCounter":
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._listen)

    def take(self) -> Compiled:
        """What was counted since the last `take`, which starts again from 0."""
        taken = Compiled(self._count, self._seconds)
        self._count, self._seconds = 0, 0.0
        return taken

    def _listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILE_EVENT:
            self._count += 1
            self._seconds += duration_secs
