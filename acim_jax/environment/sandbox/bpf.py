"""Classic BPF for seccomp: instructions, and a search tree over system call numbers.

The kernel hands a filter `struct seccomp_data`: number (offset 0), architecture (4), instruction
pointer (8), six 64-bit arguments (16 …). All offsets assume a little-endian machine.
"""

import ctypes
import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP, _AND, _RETURN = 0x05, 0x54, 0x06
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45

NUMBER, ARCHITECTURE = 0, 4
ALLOW = 0x7FFF_0000
KILL = 0x8000_0000


class Instruction(NamedTuple):
    """One `struct sock_filter`. yes, no: instructions to skip after a comparison."""

    code: int
    yes: int
    no: int
    value: int


_LAYOUT = struct.Struct("=HBBI")  # of an instruction in memory


class _Header(ctypes.Structure):
    """`struct sock_fprog`"""

    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.c_void_p))


Code = Sequence[Instruction]


def errno(number: int) -> int:
    """The action: the call is not made and fails with this number (0: it pretends to succeed)."""
    return 0x0005_0000 | number


def finish(action: int) -> Code:
    """Ends the filter with an action."""
    return [Instruction(_RETURN, 0, 0, action)]


def load(offset: int) -> Code:
    """Reads the 32-bit word at `offset` of `struct seccomp_data`."""
    return [Instruction(LOAD, 0, 0, offset)]


def low(argument: int) -> int:
    """Offset of the low half of an argument."""
    return 16 + 8 * argument


def masked(value: int) -> Code:
    """Keeps some bits of the word that was read."""
    return [Instruction(_AND, 0, 0, value)]


def if_equal(value: int, then: Code) -> Code:
    """Runs `then`, which must end the filter, if the word is `value`."""
    return [Instruction(_EQUAL, 0, len(then), value), *then]


def unless_equal(value: int, then: Code) -> Code:
    """Runs `then`, which must end the filter, if the word is not `value`."""
    return [Instruction(_EQUAL, len(then), 0, value), *then]


def if_any_bit(bits: int, then: Code) -> Code:
    """Runs `then`, which must end the filter, if the word has any of `bits`."""
    return [Instruction(_ANY_BIT, 0, len(then), bits), *then]


def dispatch(actions: Mapping[int, Code], default: Code) -> Code:
    """A search tree: runs `actions[n]` for the word n that was read, else `default`.

    Every leaf must end the filter. It is a tree, not a list, since the kernel runs the filter on
    every number when it is installed, which happens once per program.
    """
    starts = {0: default}
    for number in sorted(actions):
        starts |= {number: actions[number], number + 1: default}
    ranges = itertools.groupby(starts.items(), key=lambda start: start[1])
    return _tree([next(same) for _, same in ranges])


def _tree(ranges: Sequence[tuple[int, Code]]) -> Code:
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    left, right = _tree(ranges[:middle]), _tree(ranges[middle:])
    # A comparison skips at most 255 instructions, a jump any number.
    fork = Instruction(_AT_LEAST, 0, 1, ranges[middle][0])
    return [fork, Instruction(_JUMP, 0, 0, len(left)), *left, *right]


class Filter:
    """A filter as the kernel takes it. address: of its `struct sock_fprog`, while it lives.

    variable: stands in the code for a value that is only known when the filter is installed.
    """

    def __init__(self, code: Code, variable: int) -> None:
        self._array = bytearray().join(_LAYOUT.pack(*instruction) for instruction in code)
        self._places = [i for i, instruction in enumerate(code) if instruction.value == variable]
        whole = (ctypes.c_char * len(self._array)).from_buffer(self._array)
        self._header = _Header(len(code), ctypes.addressof(whole))
        self.address = ctypes.cast(ctypes.byref(self._header), ctypes.c_void_p)

    def fill(self, value: int) -> None:
        """Puts the value into the variable's places."""
        for place in self._places:
            struct.pack_into("=I", self._array, _LAYOUT.size * (place + 1) - 4, value)
