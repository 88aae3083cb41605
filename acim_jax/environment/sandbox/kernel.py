"""Linux calls that Python's standard library lacks, through ctypes.

All of them raise `OSError` if the kernel refuses. The C library is loaded with this module, in the
server: loading it in a child costs 1 ms.
"""

import ctypes
import errno
import os
import platform
import sys

IS_LINUX = sys.platform == "linux"
MACHINE = platform.machine()
LIBC = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

_MOUNT_SETATTR = 442  # its number on all architectures; older C libraries have no wrapper


def prctl(option: int, *arguments: int | ctypes.c_void_p) -> None:
    """prctl(2); arguments that are left out are 0."""
    values = [a if isinstance(a, ctypes.c_void_p) else ctypes.c_ulong(a) for a in arguments]
    values += [ctypes.c_ulong(0)] * (4 - len(values))
    _check(LIBC.prctl(option, *values), "prctl")


def syscall(name: str, number: int, *arguments: object) -> int:
    """Any call by number; `name` is for the message."""
    return _check(LIBC.syscall(ctypes.c_long(number), *arguments), name)


def unshare(flags: int) -> None:
    """Leaves the shared namespaces that `flags` name."""
    _check(LIBC.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)"""
    texts = [os.fsencode(text) or None for text in (source, target, kind, data)]
    result = LIBC.mount(*texts[:3], ctypes.c_ulong(flags), texts[3])
    _check(result, f"mount of {kind or source or target} on {target}")


def set_mount_read_only(path: str, *, recursive: bool) -> None:
    """Fails with ENOSYS on kernels before 5.12."""
    at_fdcwd, at_recursive, rdonly, nosuid = -100, 0x8000, 1, 2
    attributes = (ctypes.c_uint64 * 4)(rdonly | nosuid, 0, 0, 0)
    syscall(
        f"mount_setattr of {path}",
        _MOUNT_SETATTR,
        ctypes.c_int(at_fdcwd),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_uint(at_recursive if recursive else 0),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )


def pivot_root_here() -> None:
    """Makes the working folder the root and drops the old root."""
    here = ctypes.c_char_p(b".")
    number = {"x86_64": 155, "aarch64": 41}.get(MACHINE)
    if number is None:
        raise OSError(errno.ENOSYS, f"pivot_root: its number on {MACHINE} is not known here")
    syscall("pivot_root", number, here, here)
    detach(".")


def detach(path: str) -> None:
    """Takes a mount away, at once."""
    mnt_detach = 2
    _check(LIBC.umount2(os.fsencode(path), mnt_detach), f"umount of {path}")


def advise(start: int, length: int, advice: int) -> None:
    """madvise(2)"""
    _check(LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), advice), "madvise")


def drop_capabilities() -> None:
    """Empties all capability sets of this process: a user namespace's maker is given some."""
    version_3 = 0x20080522
    header, nothing = (ctypes.c_uint32 * 2)(version_3, 0), (ctypes.c_uint32 * 6)()
    _check(LIBC.capset(ctypes.byref(header), ctypes.byref(nothing)), "capset")


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
