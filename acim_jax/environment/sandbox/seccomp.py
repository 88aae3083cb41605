"""The system calls that programs may make, as a seccomp filter.

Calls are allowed by name; a call in no table does not exist. Refused calls fail with EPERM, so that
a program sees a `PermissionError`; calls that only an attack makes end the program (SIGSYS).
"""

import errno
import os

from acim_jax.environment.sandbox import bpf, kernel, syscalls

#: `AUDIT_ARCH_*` of the architectures that the tables know.
ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
#: System calls of the 32-bit-pointer ABI of x86-64 carry this bit.
_X32_BIT = 0x4000_0000

_CLONE_THREAD = 0x0001_0000
#: All CLONE_NEW* bits that `clone` takes.
_NEW_NAMESPACE = 0x7E02_0000
_AF_UNIX, _SOCK_STREAM = 1, 1
_O_TRUNC, _O_ACCMODE = 0o1000, 0o3
#: TCGETS, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TCGETS2.
_IOCTLS = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C_542A)
#: PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA.
_PRCTLS = (3, 15, 16, 0x5356_4D41)

_MODE_FILTER = 2
#: Stands for a process id until there is one; larger than the kernel gives.
_ANY_PID = 0x7FFF_FFF1

_ALLOW = bpf.finish(bpf.ALLOW)
_REFUSE = bpf.finish(bpf.errno(errno.EPERM))
_KILL = bpf.finish(bpf.KILL)


def build(machine: str, pid: int) -> bpf.Code:
    """The filter for a program in process `pid` on `machine` (a key of `ARCHITECTURES`)."""
    checks = _checks(pid)
    actions: dict[int, bpf.Code] = {}
    for table, action in (
        (syscalls.ALLOWED, _ALLOW),
        (syscalls.REFUSED, _REFUSE),
        (syscalls.PRETENDED, bpf.finish(bpf.errno(0))),
        (syscalls.UNSUPPORTED, bpf.finish(bpf.errno(errno.EOPNOTSUPP))),
        (syscalls.KILLED, _KILL),
        (syscalls.CHECKED, None),
    ):
        for name, numbers in table.items():
            if (number := getattr(numbers, machine)) is not None:
                actions[number] = checks[name] if action is None else action
    return [
        *bpf.load(bpf.ARCHITECTURE),
        *bpf.unless_equal(ARCHITECTURES[machine], _KILL),
        *bpf.load(bpf.NUMBER),
        *(bpf.if_any_bit(_X32_BIT, _KILL) if machine == "x86_64" else ()),
        *bpf.dispatch(actions, bpf.finish(bpf.errno(errno.ENOSYS))),
    ]


def prepare() -> bpf.Filter:
    """The filter for this machine, made once per fork server; a child fills in its process id.

    Raises `OSError` on an architecture without tables.
    """
    machine = kernel.MACHINE
    if machine not in ARCHITECTURES:
        raise OSError(f"no system call tables for {machine}, only for {', '.join(ARCHITECTURES)}")
    return bpf.Filter(build(machine, _ANY_PID), _ANY_PID)


def install(prepared: bpf.Filter) -> None:
    """Puts the filter on this process, for good; `no_new_privs` must be set. Raises `OSError`."""
    prepared.fill(os.getpid())
    kernel.prctl(kernel.PR_SET_SECCOMP, _MODE_FILTER, prepared.address)


def _checks(pid: int) -> dict[str, bpf.Code]:
    """Conditions on arguments. Of 64-bit flags only the low half has a meaning."""
    own_process = _if_argument_in(0, (pid,))
    return {
        # Truncating needs no right to write before Landlock's third version.
        "open": _open(flags=1),
        "openat": _open(flags=2),
        # A connected pair of streams reaches nobody else; datagrams could be sent to an address.
        "socketpair": [
            *bpf.load(bpf.low(0)),
            *bpf.unless_equal(_AF_UNIX, _REFUSE),
            *bpf.load(bpf.low(1)),
            *bpf.masked(0xF),
            *bpf.unless_equal(_SOCK_STREAM, _REFUSE),
            *_ALLOW,
        ],
        # Threads, but no processes: the C library's `fork` is a `clone`, too.
        "clone": [
            *bpf.load(bpf.low(0)),
            *bpf.if_any_bit(_NEW_NAMESPACE, _REFUSE),
            *bpf.if_any_bit(_CLONE_THREAD, _ALLOW),
            *_REFUSE,
        ],
        "kill": own_process,
        "tgkill": own_process,
        "tkill": own_process,
        # Without capabilities, limits can only be lowered.
        "prlimit64": _if_argument_in(0, (0, pid)),
        "ioctl": _if_argument_in(1, _IOCTLS, bpf.finish(bpf.errno(errno.ENOTTY))),
        "prctl": _if_argument_in(0, _PRCTLS),
    }


def _open(flags: int) -> bpf.Code:
    return [
        *bpf.load(bpf.low(flags)),
        *bpf.masked(_O_TRUNC | _O_ACCMODE),
        *bpf.if_equal(_O_TRUNC, _REFUSE),
        *_ALLOW,
    ]


def _if_argument_in(
    argument: int, values: tuple[int, ...], otherwise: bpf.Code = _REFUSE
) -> bpf.Code:
    among = [step for value in values for step in bpf.if_equal(value, _ALLOW)]
    return [*bpf.load(bpf.low(argument)), *among, *otherwise]
