"""The system call filter, run by an interpreter of its instructions, for both architectures."""

import errno
import re
from pathlib import Path

import pytest

from acim_jax.environment.sandbox import bpf, seccomp, syscalls

X86, ARM = 0xC000003E, 0xC00000B7  # AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64
PID = 4321
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS, ENOTTY, DONE = 0x50001, 0x50026, 0x50019, 0x50000
EOPNOTSUPP = 0x5005F


def decide(machine: str, architecture: int, number: int, *arguments: int) -> int:
    """What the filter says of a call, by the rules of classic BPF (bpf(4), seccomp(2))."""
    values = [*arguments, *([0] * (6 - len(arguments)))]
    words = [number, architecture, 0, 0]
    for value in values:
        words += [value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF]
    code = seccomp.build(machine, PID)
    at = register = 0
    while True:
        instruction = code[at]
        at += 1
        match instruction.code:
            case 0x20:  # load a word of the data
                register = words[instruction.value // 4]
            case 0x54:  # and
                register &= instruction.value
            case 0x05:  # jump
                at += instruction.value
            case 0x15:
                at += instruction.yes if register == instruction.value else instruction.no
            case 0x35:
                at += instruction.yes if register >= instruction.value else instruction.no
            case 0x45:
                at += instruction.yes if register & instruction.value else instruction.no
            case 0x06:
                return instruction.value
            case other:
                raise AssertionError(f"no such instruction: {other:#x}")


#: name, number on x86-64, on aarch64, arguments, verdict. Numbers from the kernel's headers.
CALLS = [
    ("read", 0, 63, (), ALLOW),
    ("write", 1, 64, (), ALLOW),
    ("exit_group", 231, 94, (), ALLOW),
    ("getrandom", 318, 278, (), ALLOW),
    ("futex", 202, 98, (), ALLOW),
    ("openat to read", 257, 56, (0, 0, 0), ALLOW),
    ("openat to make", 257, 56, (0, 0, 0o1101), ALLOW),
    ("openat that cuts what it reads", 257, 56, (0, 0, 0o1000), EPERM),
    ("clone of a thread", 56, 220, (0x3D0F00,), ALLOW),
    ("clone as fork", 56, 220, (0x1200011,), EPERM),
    ("clone into a user namespace", 56, 220, (0x10010000,), EPERM),
    ("clone3", 435, 435, (), ENOSYS),
    ("execve", 59, 221, (), EPERM),
    ("execveat", 322, 281, (), EPERM),
    ("socket", 41, 198, (2, 1), EPERM),
    ("socketpair of streams", 53, 199, (1, 1 | 0o2000000), ALLOW),
    ("socketpair of datagrams", 53, 199, (1, 2), EPERM),
    ("socketpair of another family", 53, 199, (2, 1), EPERM),
    ("kill itself", 62, 129, (PID, 9), ALLOW),
    ("kill another", 62, 129, (PID + 1, 9), EPERM),
    ("kill all", 62, 129, (2**64 - 1, 9), EPERM),
    ("kill the group", 62, 129, (0, 9), EPERM),
    ("tgkill itself", 234, 131, (PID, PID, 6), ALLOW),
    ("tgkill another", 234, 131, (1, 1, 6), EPERM),
    ("prlimit64 of itself", 302, 261, (0,), ALLOW),
    ("prlimit64 of another", 302, 261, (1,), EPERM),
    ("prctl to name a thread", 157, 167, (15,), ALLOW),
    ("prctl to outlive the parent", 157, 167, (1,), EPERM),
    ("ioctl for a terminal's settings", 16, 29, (1, 0x5401), ALLOW),
    ("ioctl for file flags", 16, 29, (1, 0x40086602), ENOTTY),
    ("fchmodat", 268, 53, (), DONE),
    ("utimensat", 280, 88, (), DONE),
    ("setxattr", 188, 5, (), EOPNOTSUPP),
    ("ptrace", 101, 117, (), KILL),
    ("process_vm_readv", 310, 270, (), KILL),
    ("mount", 165, 40, (), KILL),
    ("unshare", 272, 97, (), KILL),
    ("bpf", 321, 280, (), KILL),
    ("keyctl", 250, 219, (), KILL),
    ("io_uring_setup", 425, 425, (), KILL),
    ("userfaultfd", 323, 282, (), KILL),
    ("openat2, whose flags lie in memory", 437, 437, (), ENOSYS),
    ("a call of the future", 2000, 2000, (), ENOSYS),
]


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", X86), ("aarch64", ARM)])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0])
def test_verdict(
    machine: str, architecture: int, call: tuple[str, int, int, tuple[int, ...], int]
) -> None:
    _, x86, arm, arguments, verdict = call
    number = x86 if machine == "x86_64" else arm
    assert decide(machine, architecture, number, *arguments) == verdict


def test_calls_of_another_architecture_end_the_program() -> None:
    i386 = 0x40000003
    assert decide("x86_64", i386, 3) == KILL
    assert decide("aarch64", X86, 63) == KILL
    assert decide("x86_64", X86, 0x40000000) == KILL  # the ABI with 32-bit pointers


def test_x86_only_calls() -> None:
    fork, vfork, chmod, open_ = 57, 58, 90, 2
    assert [decide("x86_64", X86, n) for n in (fork, vfork, chmod)] == [EPERM, EPERM, DONE]
    assert decide("x86_64", X86, open_, 0, 0o1000) == EPERM
    assert decide("aarch64", ARM, fork) == ALLOW  # there it is lseek's neighbour, close


def test_every_number_is_the_kernels() -> None:
    generic = Path("/usr/include/asm-generic/unistd.h")
    x86 = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not (generic.is_file() and x86.is_file()):
        pytest.skip("the kernel's headers are not installed")
    arm_known, x86_known = _numbers(generic), _numbers(x86)
    arm_known["newfstatat"] = arm_known["fstatat"]
    tables = (
        syscalls.ALLOWED, syscalls.CHECKED, syscalls.PRETENDED, syscalls.UNSUPPORTED,
        syscalls.REFUSED, syscalls.KILLED,
    )  # fmt: skip
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names)) > 250
    newest = max(x86_known.values())  # of the installed headers; later calls have equal numbers
    for table in tables:
        for name, numbers in table.items():
            if (numbers.x86_64 or 0) > newest:
                assert numbers.x86_64 == numbers.aarch64
                continue
            assert numbers.x86_64 == x86_known.get(name), name
            assert numbers.aarch64 == arm_known.get(name), name


def _numbers(header: Path) -> dict[str, int]:
    pattern = re.compile(r"#define\s+__NR(?:3264)?_(\w+)\s+(\d+)\s*$", re.MULTILINE)
    return {name: int(number) for name, number in pattern.findall(header.read_text())}


def test_a_tree_of_many_calls_jumps_past_255_instructions() -> None:
    long = [bpf.Instruction(0x54, 0, 0, 1)] * 300
    actions = {n: [*long, *bpf.finish(bpf.errno(n))] for n in (1, 5, 6, 9)}
    code = bpf.dispatch(actions, bpf.finish(bpf.errno(errno.ENOSYS)))
    assert all(i.yes <= 255 and i.no <= 255 for i in code)
    assert len(code) > 1200
