"""Programs that ask the kernel for power, or try ways around the filter."""

from tests.attacks.attack import BLOCKED, ERROR, KILLED, Attack, by_number

_CODE = """\
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex('{code}'))
start = ctypes.addressof(ctypes.c_char.from_buffer(page))
print('ESCAPED' if ctypes.CFUNCTYPE(ctypes.c_long)(start)() >= 0 else 'refused')
"""

ATTACKS = [
    Attack("become root", ERROR, "import os\nos.setuid(0)\nprint('ESCAPED')"),
    Attack("become root by all ids", ERROR, "import os\nos.setresuid(0, 0, 0)\nprint('ESCAPED')"),
    Attack("become another group", ERROR, "import os\nos.setgroups([0])\nprint('ESCAPED')"),
    Attack("capabilities", ERROR, by_number("capset", "id(b'') + 32", "id(b'') + 32")),
    Attack("user namespace", BLOCKED, by_number("unshare", "0x10000000")),
    Attack("another's namespace", BLOCKED, by_number("setns", "0", "0")),
    Attack("chroot by number", BLOCKED, by_number("chroot", "id(b'') + 32")),
    Attack("bpf", BLOCKED, by_number("bpf", "5", "0", "0")),
    Attack(
        "performance counters", BLOCKED, by_number("perf_event_open", "0", "0", "-1", "-1", "0")
    ),
    Attack("user faults", BLOCKED, by_number("userfaultfd", "0")),
    Attack("keys", BLOCKED, by_number("keyctl", "0", "-3", "0")),
    Attack("a new key", BLOCKED, by_number("add_key", "0", "0", "0", "0", "-3")),
    Attack("kernel module", BLOCKED, by_number("init_module", "0", "0", "0")),
    Attack("another kernel", BLOCKED, by_number("kexec_load", "0", "0", "0", "0")),
    Attack("reboot", BLOCKED, by_number("reboot", "0", "0", "0", "0")),
    Attack("set the clock", BLOCKED, by_number("settimeofday", "0", "0")),
    Attack("rename the host", BLOCKED, by_number("sethostname", "0", "0")),
    Attack("swap", BLOCKED, by_number("swapon", "0", "0")),
    Attack("accounting", BLOCKED, by_number("acct", "0")),
    Attack("kernel log by number", BLOCKED, by_number("syslog", "3", "0", "0")),
    Attack("quota", BLOCKED, by_number("quotactl", "0", "0", "0", "0")),
    Attack("filter on top", ERROR, by_number("seccomp", "1", "0", "0")),
    Attack("personality", ERROR, by_number("personality", "0x0040000")),
    Attack("unknown call", ERROR, "import ctypes\nassert ctypes.CDLL(None).syscall(9999) >= 0"),
    # x86-64 has two more sets of numbers. `int 0x80` with getuid (24), then `ret`; on aarch64 the
    # bytes are no instructions.
    Attack("32-bit calls", (BLOCKED, KILLED), _CODE.format(code="b818000000cd80c3")),
    # `syscall` with 0x40000066: getuid of the 32-bit-pointer ABI.
    Attack("x32 calls", (BLOCKED, KILLED), _CODE.format(code="b8660000400f05c3")),
]
