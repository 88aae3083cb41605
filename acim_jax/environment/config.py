"""The `executor` section of a run."""

import builtins
from typing import Annotated

from annotated_types import Ge, Lt

from acim_jax import own_code
from acim_jax.environment.sandbox import protection
from acim_jax.section import AtLeastOne, Positive, section


@section
class ExecutorConfig:
    """What programs may use."""

    workers: AtLeastOne = 2
    """Programs that run at once; each has a fork server of its own."""
    timeout_s: Positive = 10.0
    """Wall seconds of a program, measured outside of it."""
    cpu_seconds: Positive = 5.0
    """CPU seconds of a program; they do not depend on the machine's load."""
    memory_mb: AtLeastOne = 1024
    """Address space of a program, beyond what the loaded modules take."""
    output_chars: AtLeastOne = 4096
    """Characters kept of standard output, and as many of standard error; the middle is cut."""
    file_mb: AtLeastOne = 16
    """Largest size of one file of a program."""
    disk_mb: AtLeastOne = 64
    """Largest size of all files of a program together."""
    modules: tuple[str, ...] = ("numpy", "sympy", "mpmath")
    """Third-party modules that programs may import. Others are refused even if installed, so that
    results do not depend on the installation."""
    tools: tuple[str, ...] = ()
    """Functions of your own that programs may call, each `FILE.py:FUNCTION` or
    `package.module:FUNCTION` (docs/executor.md). The prompt lists them."""
    waiting: AtLeastOne = 1024
    """Programs that may queue for a server; submitting another blocks until one is taken."""
    max_infra_rate: Annotated[float, Ge(0), Lt(1)] = 0.05
    """Share of the last 200 programs that may fail on the executor's side; above it the run
    stops."""
    min_protection: protection.Level = "limits"
    """The least level of protection to run with (docs/executor.md): `limits`, `filtered` (system
    calls), `confined` (and files), or `isolated` (and namespaces)."""

    def __post_init__(self) -> None:
        for name in self.modules:
            if not name.isidentifier():
                raise ValueError(
                    f"modules must be top-level module names, got {name!r}; write `sympy`, not a "
                    "path, a version or a submodule."
                )
        names = [spec.rpartition(":")[2] for spec in self.tools]
        for spec, name in zip(self.tools, names, strict=True):
            own_code.check_form("tools", spec)
            if hasattr(builtins, name) or names.count(name) > 1:
                other = "a built-in name of Python" if hasattr(builtins, name) else "another tool"
                raise ValueError(f"tools: {spec} has the name of {other}; rename it.")
