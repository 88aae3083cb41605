"""The layers of protection: what a host offers, and putting them on the child of one program.

A fork server finds out once what holds (`enter`), by trying it in a child, and puts exactly that
on every program (`confine`). A layer that held in the trial and fails later is a failure of ours.
"""

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from acim_jax.environment import scratch as scratches
from acim_jax.environment.sandbox import (
    identity,
    kernel,
    landlock,
    limits,
    memory,
    namespaces,
    seccomp,
)
from acim_jax.environment.sandbox.limits import Limits
from acim_jax.environment.sandbox.memory import MemoryFiles

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
LEVELS: tuple[Level, ...] = get_args(Level)

_FILTERED: tuple[Layer, ...] = ("no_new_privileges", "no_capabilities", "seccomp")
#: The layers that a level needs beside resource limits, clean environment and the outer clock.
NEEDS: Mapping[Level, tuple[Layer, ...]] = {
    "limits": (),
    "filtered": _FILTERED,
    "confined": (*_FILTERED, "landlock"),
    "isolated": (*_FILTERED, "landlock", "namespaces", "private_files"),
}
#: Put on every child by itself; the others are the server's, and its children are born in them.
_OF_EACH_CHILD: tuple[Layer, ...] = (
    "user_change", "no_capabilities", "no_new_privileges", "landlock", "seccomp",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_LIBRARIES = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo",
    "/nix/store",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Confinement:
    """What every program of a server is put under. missing: reason by layer that is not there.

    scratch: the folder that programs may write. server: process id of the fork server, as the host
    knows it. memory: files that tell of its memory (Linux). ruleset: descriptor of the Landlock
    rules.
    """

    limits: Limits
    scratch: str
    missing: Mapping[Layer, str]
    server: int
    memory: MemoryFiles | None = None
    user: int | None = None
    ruleset: int = -1
    filter: seccomp.Filter | None = None

    @property
    def layers(self) -> frozenset[Layer]:
        return frozenset(LAYERS) - frozenset(self.missing)


def level(held: Mapping[str, bool]) -> Level:
    """The highest level whose layers are all held."""
    reached: list[Level] = [name for name in LEVELS if all(held[layer] for layer in NEEDS[name])]
    return reached[-1]


def enter(
    limits_: Limits, scratch: str, folders: Sequence[str], leave_out: Sequence[Layer]
) -> Confinement:
    """Takes this process, a fork server that has loaded nothing yet, into its own view of the host.

    Returns, in another process if there are namespaces, what programs are to be put under.
    folders: what they may read beside the interpreter. leave_out: layers not to be used.
    Raises `OSError`.
    """
    missing: dict[Layer, str] = dict.fromkeys(leave_out, "left out on request")
    if not kernel.IS_LINUX:
        missing = dict.fromkeys(LAYERS, f"not on {sys.platform}")
        return Confinement(limits_, scratch, missing, os.getpid())
    read = readable(folders)
    user = None if "user_change" in missing else identity.unused_user(os.getpid())
    if user is None and "user_change" not in missing:
        root = os.geteuid() == 0
        missing["user_change"] = "root may not change users here" if root else "not run by root"
    counted_alone = user is not None
    if "namespaces" not in missing:
        try:
            counted_alone |= namespaces.leave_host()
        except OSError as error:
            missing["namespaces"] = str(error)
    limits_ = dataclasses.replace(limits_, tasks=limits.task_limit(counted_alone=counted_alone))
    server = os.getpid()
    if "namespaces" not in missing:
        namespaces.become_first_process(at_end=lambda: scratches.remove(scratch))
        server = int(os.readlink("/proc/self"))
    else:
        missing.setdefault("private_files", "needs namespaces")
    files = memory.open_files()
    if "private_files" not in missing:
        try:
            namespaces.show_only(read, DEVICES, scratch, limits_.disk_bytes, limits_.files)
        except OSError as error:
            missing["private_files"] = str(error)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    return _test(_prepare(Confinement(limits_, scratch, missing, server, files, user), read), read)


def readable(folders: Sequence[str]) -> list[str]:
    """Folders that programs may read: interpreter, system libraries, this package, `folders`."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    names = (*sys.path, f"{sys.base_prefix}/lib", package, *_LIBRARIES, *libraries, *folders)
    unwanted = os.path.dirname(package)  # on the path of a source tree; it holds everything else
    absolute = (name for name in names if os.path.isabs(name) and os.path.isdir(name))
    return [name for name in dict.fromkeys(absolute) if name != unwanted or name in folders]


def _prepare(wanted: Confinement, read: Sequence[str]) -> Confinement:
    """Opens the Landlock rules and assembles the seccomp filter; what fails is missing."""
    missing = dict(wanted.missing)
    ruleset, prepared = -1, None
    if "landlock" not in missing:
        try:
            ruleset = landlock.make_ruleset(read, wanted.scratch, DEVICES)
        except OSError as error:
            missing["landlock"] = str(error)
    if "seccomp" not in missing:
        try:
            prepared = seccomp.prepare()
        except OSError as error:
            missing["seccomp"] = str(error)
    return dataclasses.replace(wanted, missing=missing, ruleset=ruleset, filter=prepared)


def _test(wanted: Confinement, folders: Sequence[str]) -> Confinement:
    """Leaves out the layers that do not hold when a child is put under each of them alone.

    Raises `OSError` if those that hold alone do not hold together.
    """
    missing = dict(wanted.missing)
    for layer in _OF_EACH_CHILD:
        if layer in missing:
            continue
        needed = {layer, "no_new_privileges"}
        others: dict[Layer, str] = {
            name: "" for name in LAYERS if name not in needed or name in missing
        }
        reason = _trial(dataclasses.replace(wanted, missing=others), folders)
        if reason:
            missing[layer] = reason
    proven = dataclasses.replace(wanted, missing=missing)
    reason = _trial(proven, folders)
    if reason:
        raise OSError(f"the layers of protection do not work together: {reason}")
    return proven


def _trial(confinement: Confinement, folders: Sequence[str]) -> str:
    """Puts a child under the layers and has it try what they forbid; says what went wrong."""
    _give_scratch(confinement)
    server = os.getpid()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = "it ended without a word"
        try:
            confine(confinement, server)
            text = _what_is_open(confinement, folders)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
        finally:
            os.write(write, text.encode("utf-8", "replace")[:4096])
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        text = file.read().decode("utf-8", "replace")
    os.waitpid(pid, 0)
    return text


def _what_is_open(confinement: Confinement, folders: Sequence[str]) -> str:
    held = confinement.layers
    for folder in folders:
        os.listdir(folder)  # what programs import must stay readable
    with open(os.path.join(confinement.scratch, "trial"), "wb") as file:
        file.write(b"x")
    os.remove(file.name)
    if "landlock" in held and _works(lambda: os.listdir("/")):
        return "the root folder can be listed"
    if "seccomp" in held and _works(lambda: os.fork() or os._exit(0)):
        return "a process can be started"
    return ""


def _works(action: Callable[[], object]) -> bool:
    try:
        action()
    except PermissionError:
        return False
    return True


def _give_scratch(confinement: Confinement) -> None:
    """Makes the scratch folder the programs' own."""
    if kernel.IS_LINUX and os.geteuid() == 0:
        user = confinement.user if "user_change" in confinement.layers else 0
        os.chown(confinement.scratch, user or 0, user or 0)


def confine(confinement: Confinement, server: int) -> None:
    """Puts this child, freshly forked, under all layers and limits. Raises `OSError`, `ValueError`.

    server: process id of the fork server, as the child sees it.
    """
    limits.impose(confinement.limits)
    held = confinement.layers
    if "user_change" in held:
        identity.become(confinement.user or 0)
    if "no_capabilities" in held:
        identity.renounce()
    if kernel.IS_LINUX:  # after the change of user, which undoes it
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            raise OSError("the fork server ended before the child was confined")
    if "no_new_privileges" in held:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if "landlock" in held:
        landlock.restrict(confinement.ruleset)
    if "seccomp" in held and confinement.filter is not None:
        seccomp.install(confinement.filter)
