"""What an attack is: a program, how it must end, and the place-holders in its text."""

import platform
from typing import NamedTuple

from acim_jax.records import Status

OK, ERROR, TIMEOUT = Status.OK, Status.ERROR, Status.TIMEOUT
MEMORY, KILLED, BLOCKED = Status.MEMORY, Status.KILLED, Status.BLOCKED


class Attack(NamedTuple):
    """A program prints ESCAPED if it got what it wanted; `statuses` are the ends that are right.

    Place-holders: @PARENT@ process id of who holds the executor, @VICTIM@ of another process of the
    same user, @SECRET@ a file with a token that only its user may read, @PORT@ a listening TCP
    port, @UDP@ a UDP port, @UNIX@ a listening UNIX socket, @ABSTRACT@ an abstract one.
    timeout_s: for programs that only wait.
    """

    name: str
    statuses: Status | tuple[Status, ...]
    code: str
    timeout_s: float | None = None

    @property
    def allowed(self) -> tuple[Status, ...]:
        return self.statuses if isinstance(self.statuses, tuple) else (self.statuses,)


#: Numbers on x86-64 and aarch64, from the kernel's headers.
_NUMBERS = {
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435),
    "execve": (59, 221), "socket": (41, 198), "kill": (62, 129), "tkill": (200, 130),
    "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "prctl": (157, 167),
    "setpriority": (141, 140), "prlimit64": (302, 261), "sched_setaffinity": (203, 122),
    "capset": (126, 91), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "keyctl": (250, 219), "add_key": (248, 217), "init_module": (175, 105),
    "kexec_load": (246, 104), "reboot": (169, 142), "settimeofday": (164, 170),
    "sethostname": (170, 161), "swapon": (167, 224), "acct": (163, 89), "syslog": (103, 116),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fsopen": (430, 430),
    "quotactl": (179, 60), "memfd_create": (319, 279), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "seccomp": (317, 277), "personality": (135, 92),
    "mlockall": (151, 230), "truncate": (76, 45), "sync": (162, 81), "fanotify_init": (300, 262),
}  # fmt: skip

_CALL = """\
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""


def by_number(name: str, *arguments: str, then: str = "print('ESCAPED')") -> str:
    """A program that makes a system call past every wrapper."""
    x86, arm = _NUMBERS[name]
    number = arm if platform.machine() == "aarch64" else x86
    if number is None:  # aarch64 lacks fork and vfork: SIGCHLD clone is the same
        return by_number("clone", "17", "0", "0", "0", "0", then=then)
    return f"{_CALL}result = call({', '.join([str(number), *arguments])})\n{then}\n"
