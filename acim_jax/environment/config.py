"""The `executor` section of a run."""

import dataclasses
import math

from acim_jax.environment.sandbox import protection


@dataclasses.dataclass(frozen=True)
class ExecutorConfig:
    """What programs may use.

    workers: programs that run at once, one fork server each. timeout_s: wall time, kept outside
    the program. cpu_seconds: CPU time, which does not depend on the machine's load.
    memory_mb: address space over what the loaded modules take. output_chars: characters kept of
    standard output, and as many of standard error; the middle is cut. file_mb: size of one file.
    disk_mb: size of all files of a program. modules: third-party modules that programs may import;
    others are refused even if installed, so that results do not depend on the installation.
    waiting: programs that may wait for a server; whoever hands over more waits himself.
    max_infra_rate: share of the last 200 programs that may fail on the executor's side; beyond it
    the run stops. min_protection: the least level of protection to run with (docs/executor.md):
    `limits`, `filtered` (system calls), `confined` (and files), `isolated` (and namespaces).
    """

    workers: int = 2
    timeout_s: float = 10.0
    cpu_seconds: float = 5.0
    memory_mb: int = 1024
    output_chars: int = 4096
    file_mb: int = 16
    disk_mb: int = 64
    modules: tuple[str, ...] = ("numpy", "sympy", "mpmath")
    waiting: int = 1024
    max_infra_rate: float = 0.05
    min_protection: protection.Level = "limits"

    def __post_init__(self) -> None:
        for name in ("workers", "memory_mb", "output_chars", "file_mb", "disk_mb", "waiting"):
            if getattr(self, name) < 1:
                raise ValueError(f"executor.{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("timeout_s", "cpu_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"executor.{name} must be a positive number, got {value}.")
        if not 0 <= self.max_infra_rate < 1:
            raise ValueError(f"executor.max_infra_rate is not in [0, 1): {self.max_infra_rate}.")
        for name in self.modules:
            if not name.isidentifier():
                raise ValueError(
                    f"executor.modules must be top-level module names, got {name!r}; "
                    "write `sympy`, not a path, a version or a submodule."
                )
