"""Linux calls that Python's standard library lacks, through ctypes.

The C library is loaded when this module is imported: loading it in a forked child costs 1 ms.
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

#: Numbers of calls without a wrapper in older C libraries; the same on all architectures.
MOUNT_SETATTR = 442
LANDLOCK_CREATE_RULESET = 444
LANDLOCK_ADD_RULE = 445
LANDLOCK_RESTRICT_SELF = 446


def prctl(option: int, argument: int | ctypes.c_void_p = 0) -> None:
    """Raises `OSError` if the kernel refuses."""
    value = argument if isinstance(argument, ctypes.c_void_p) else ctypes.c_ulong(argument)
    zero = ctypes.c_ulong(0)
    if LIBC.prctl(option, value, zero, zero, zero) != 0:
        raise _error("prctl")


def set_seccomp(program: ctypes.c_void_p) -> None:
    """Installs a filter (`struct sock_fprog *`). Raises `OSError` if the kernel refuses."""
    zero = ctypes.c_ulong(0)
    if LIBC.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), program, zero, zero) != 0:
        raise _error("prctl(PR_SET_SECCOMP)")


def syscall(name: str, number: int, *arguments: object) -> int:
    """Any call by number; `name` is for the message. Raises `OSError` if the kernel refuses."""
    result = LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise _error(name)
    return result


def unshare(flags: int) -> None:
    """Leaves the shared namespaces that `flags` name. Raises `OSError`."""
    if LIBC.unshare(flags) != 0:
        raise _error("unshare")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises `OSError`."""
    texts = [os.fsencode(text) or None for text in (source, target, kind, data)]
    if LIBC.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]) != 0:
        raise _error(f"mount of {kind or source or target} on {target}")


def set_mount_read_only(path: str, *, recursive: bool) -> None:
    """Raises `OSError`, with ENOSYS on kernels before 5.12."""
    at_fdcwd, at_recursive, rdonly, nosuid = -100, 0x8000, 1, 2
    attributes = (ctypes.c_uint64 * 4)(rdonly | nosuid, 0, 0, 0)
    syscall(
        f"mount_setattr of {path}",
        MOUNT_SETATTR,
        ctypes.c_int(at_fdcwd),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_uint(at_recursive if recursive else 0),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )


def pivot_root_here() -> None:
    """Makes the working folder the root and drops the old root. Raises `OSError`."""
    here = ctypes.c_char_p(b".")
    number = {"x86_64": 155, "aarch64": 41}.get(MACHINE)
    if number is None:
        raise OSError(errno.ENOSYS, f"pivot_root: its number on {MACHINE} is not known here")
    syscall("pivot_root", number, here, here)
    detach(".")


def detach(path: str) -> None:
    """Takes a mount away, at once. Raises `OSError`."""
    mnt_detach = 2
    if LIBC.umount2(os.fsencode(path), mnt_detach) != 0:
        raise _error(f"umount of {path}")


def advise(start: int, length: int, advice: int) -> None:
    """madvise(2). Raises `OSError`."""
    if LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(advice)) != 0:
        raise _error("madvise")


def drop_capabilities() -> None:
    """Empties all capability sets of this process. Raises `OSError`."""
    version_3 = 0x20080522
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if LIBC.capset(ctypes.byref(header), ctypes.byref(nothing)) != 0:
        raise _error("capset")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
