"""Confinement of a fork server's children: which layers of protection hold here, and their use.

A fork server finds out once which layers hold (`enter`), by trying each in a child. It then puts
exactly those on every child (`confine`). A layer that held in the trial and fails later is our
failure, not the program's.
"""

import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from acim_jax.environment import scratch as scratches
from acim_jax.environment.sandbox import (
    bpf,
    kernel,
    landlock,
    limits,
    memory,
    namespaces,
    seccomp,
    trial,
)
from acim_jax.environment.sandbox.limits import Limits
from acim_jax.environment.sandbox.memory import MemoryFiles
from acim_jax.environment.sandbox.protection import LAYERS, Layer

T = TypeVar("T")

#: Put on each child; the other layers are put on the server, and its children inherit them.
_OF_EACH_CHILD: tuple[Layer, ...] = (
    "user_change", "no_capabilities", "no_new_privileges", "landlock", "seccomp",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_LIBRARIES = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo",
    "/nix/store",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Confinement:
    """What every child of a server is put under. missing: reason by layer that is not in force.

    scratch: the folder that children may write. server: process id of the fork server, as the host
    knows it. memory: files that describe the server's memory (Linux). user: the user that children
    become. ruleset: descriptor of the Landlock rules.
    """

    limits: Limits
    scratch: str
    missing: Mapping[Layer, str]
    server: int
    memory: MemoryFiles | None = None
    user: int | None = None
    ruleset: int | None = None
    filter: bpf.Filter | None = None

    @property
    def layers(self) -> frozenset[Layer]:
        return frozenset(LAYERS) - frozenset(self.missing)


def enter(
    limits_: Limits, scratch: str, folders: Sequence[str], leave_out: Sequence[Layer]
) -> Confinement:
    """Gives this process, a fork server that has loaded nothing yet, a view of the host of its own.

    With namespaces it returns in another process. folders: what children may read beside the
    interpreter. leave_out: layers not to use. Raises `OSError`.
    """
    if not kernel.IS_LINUX:
        missing = dict.fromkeys(LAYERS, f"not on {sys.platform}")
        return Confinement(limits_, scratch, missing, os.getpid())
    missing = dict.fromkeys(leave_out, "left out on request")
    read = _readable(folders)
    user = None if "user_change" in missing else trial.unused_user(os.getpid())
    if user is None:
        reason = "root may not change users here" if os.geteuid() == 0 else "not run by root"
        missing.setdefault("user_change", reason)
    has_user_namespace = _attempt("namespaces", missing, namespaces.leave_host)
    counted_alone = user is not None or bool(has_user_namespace)
    limits_ = dataclasses.replace(limits_, tasks=limits.task_limit(counted_alone=counted_alone))
    server = os.getpid()
    if "namespaces" not in missing:
        namespaces.become_first_process(at_end=lambda: scratches.remove(scratch))
        server = int(os.readlink("/proc/self"))
    else:
        missing.setdefault("private_files", "needs namespaces")
    files = memory.open_files()
    _attempt(
        "private_files",
        missing,
        lambda: namespaces.show_only(read, _DEVICES, scratch, limits_.disk_bytes, limits_.files),
    )
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    rules = _attempt("landlock", missing, lambda: landlock.make_ruleset(read, scratch, _DEVICES))
    prepared = _attempt("seccomp", missing, seccomp.prepare)
    wanted = Confinement(limits_, scratch, missing, server, files, user, rules, prepared)
    return _test(wanted, read)


def _attempt(layer: Layer, missing: dict[Layer, str], action: Callable[[], T]) -> T | None:
    """What a layer's `action` returns; None if the layer is missing or is found to be so now."""
    if layer in missing:
        return None
    try:
        return action()
    except OSError as error:
        missing[layer] = str(error)
        return None


def _readable(folders: Sequence[str]) -> list[str]:
    """What children may read: interpreter, system libraries, this package, `folders`."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    names = (*sys.path, f"{sys.base_prefix}/lib", package, *_LIBRARIES, *libraries, *folders)
    unwanted = os.path.dirname(package)  # on the path of a source tree; it holds everything else
    absolute = (name for name in names if os.path.isabs(name) and os.path.isdir(name))
    return [name for name in dict.fromkeys(absolute) if name != unwanted or name in folders]


def _test(wanted: Confinement, folders: Sequence[str]) -> Confinement:
    """Leaves out layers that do not hold alone. Raises `OSError` if the others fail together."""
    missing = dict(wanted.missing)
    for layer in _OF_EACH_CHILD:
        if layer not in missing:
            needed = {layer, "no_new_privileges"} - missing.keys()
            alone = dataclasses.replace(wanted, missing=dict.fromkeys({*LAYERS} - needed, ""))
            if reason := _try(alone, folders):
                missing[layer] = reason
    proven = dataclasses.replace(wanted, missing=missing)
    if reason := _try(proven, folders):
        raise OSError(f"the layers of protection do not work together: {reason}")
    return proven


def _try(confinement: Confinement, folders: Sequence[str]) -> str:
    """Has a confined child try what its layers forbid; says what went wrong, "" if nothing."""
    held, server = confinement.layers, os.getpid()
    if os.geteuid() == 0:  # the user that children become owns the scratch folder
        user = confinement.user or 0 if "user_change" in held else 0
        os.chown(confinement.scratch, user, user)

    def confined() -> str:
        confine(confinement, server)
        for folder in folders:
            os.listdir(folder)  # what children import must stay readable
        with open(os.path.join(confinement.scratch, "trial"), "wb") as file:
            file.write(b"x")
        os.remove(file.name)
        with contextlib.suppress(PermissionError):
            if "landlock" in held:
                os.listdir("/")
                return "the root folder can be listed"
        with contextlib.suppress(PermissionError):
            if "seccomp" in held:
                _ = os.fork() or os._exit(0)
                return "a process can be started"
        return ""

    return trial.failure(confined)


def confine(confinement: Confinement, server: int) -> None:
    """Puts this freshly forked child under all layers and limits. Raises `OSError`, `ValueError`.

    server: process id of the fork server, as the child sees it.
    """
    limits.impose(confinement.limits)
    held = confinement.layers
    if "user_change" in held:
        trial.become(confinement.user or 0)
    if "no_capabilities" in held:
        kernel.drop_capabilities()
    if kernel.IS_LINUX:  # after the change of user, which undoes it
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            raise OSError("the fork server ended before the child was confined")
    if "no_new_privileges" in held:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if "landlock" in held and confinement.ruleset is not None:
        landlock.restrict(confinement.ruleset)
    if "seccomp" in held and confinement.filter is not None:
        seccomp.install(confinement.filter)
