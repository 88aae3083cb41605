"""A fork server's own memory: its size, and pages that make forking cheap. Linux only."""

import contextlib
import os
import resource
from typing import NamedTuple

from acim_jax.environment.sandbox import kernel

_HUGE = 1 << 21
_MADV_COLLAPSE = 25


class MemoryFiles(NamedTuple):
    """Descriptors of /proc/self/statm and /proc/self/maps, for when /proc is out of sight."""

    statm: int
    maps: int


def open_files() -> MemoryFiles:
    """Opens both for this process. Raises `OSError`."""
    flags = os.O_RDONLY | os.O_CLOEXEC
    return MemoryFiles(os.open("/proc/self/statm", flags), os.open("/proc/self/maps", flags))


def address_space(files: MemoryFiles) -> int:
    """Bytes of virtual memory that this process has mapped."""
    return int(os.pread(files.statm, 256, 0).split()[0]) * resource.getpagesize()


def use_huge_pages(files: MemoryFiles) -> None:
    """Puts this process's private memory into huge pages where the kernel can (from 6.1).

    A fork copies one entry per page; with small pages that is a third of a trivial program's time.
    """
    os.lseek(files.maps, 0, os.SEEK_SET)
    with open(os.dup(files.maps), encoding="utf-8", errors="replace") as lines:
        entries = [line.split() for line in lines]
    for span, permissions, _, _, inode, *name in entries:
        if permissions.startswith("rw") and inode == "0" and name in ([], ["[heap]"]):
            start, end = (int(number, 16) for number in span.split("-"))
            first, last = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
            if last > first:
                with contextlib.suppress(OSError):
                    kernel.advise(first, last - first, _MADV_COLLAPSE)
