"""Landlock: which files a program may reach, and that it reaches no process outside.

A ruleset is made once per fork server; every child puts it on itself. Landlock cannot forbid
changing modes, owners, times and attributes of files, which seccomp refuses, nor `stat`
(docs/executor.md).
"""

import ctypes
import os
import stat
from collections.abc import Sequence

from acim_jax.environment.sandbox import kernel

#: Numbers of the system calls, the same on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCK, _MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15

#: Number of file rights that each version of the interface knows, from version 1.
_FILE_RIGHTS = (13, 14, 15, 15, 16)
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1

_READ = _READ_FILE | _READ_DIR
_NEVER = _EXECUTE | _MAKE_CHAR | _MAKE_SOCK | _MAKE_BLOCK | _IOCTL_DEV


def make_ruleset(read: Sequence[str], write: str, devices: Sequence[str]) -> int:
    """A descriptor of the rules: read below `read`, everything but running below `write`.

    devices: files that may be read and written. Missing paths are left out. TCP, signals to and
    abstract sockets of processes outside are forbidden where the kernel's version can.
    Raises `OSError` if the kernel refuses.
    """
    create_ruleset_version = 1
    try:
        known = _call(_CREATE_RULESET, None, ctypes.c_size_t(0), flags=create_ruleset_version)
    except OSError as error:
        raise OSError("Landlock is not enabled in this kernel") from error
    files = (1 << _FILE_RIGHTS[min(known, len(_FILE_RIGHTS)) - 1]) - 1
    network = _BIND_TCP | _CONNECT_TCP if known >= 4 else 0
    scope = _SCOPE_ABSTRACT_SOCKET | _SCOPE_SIGNAL if known >= 6 else 0
    attributes = (ctypes.c_uint64 * 3)(files, network, scope)
    size = ctypes.c_size_t(8 if known < 4 else 16 if known < 6 else 24)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), size)
    for path in read:
        _allow(ruleset, path, _READ & files)
    for path in devices:
        _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _TRUNCATE) & files)
    _allow(ruleset, write, files & ~_NEVER)
    return ruleset


def restrict(ruleset: int) -> None:
    """Puts the rules on this process, for good; `no_new_privs` must be set. Raises `OSError`."""
    _call(_RESTRICT_SELF, ctypes.c_int(ruleset))


def _call(number: int, *arguments: object, flags: int = 0) -> int:
    """One of the three calls, which all end in flags. Raises `OSError`."""
    return kernel.syscall("landlock", number, *arguments, ctypes.c_uint(flags))


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= ~_READ_DIR
        rule_path_beneath = 1
        # struct landlock_path_beneath_attr is packed: a 64-bit word and a 32-bit descriptor.
        attributes = (ctypes.c_uint32 * 3)(rights & 0xFFFF_FFFF, rights >> 32, parent)
        beneath = ctypes.c_int(rule_path_beneath)
        _call(_ADD_RULE, ctypes.c_int(ruleset), beneath, ctypes.byref(attributes))
    finally:
        os.close(parent)
