"""Programs that take more than their share: memory, output, disk, descriptors; and raise limits."""

from tests.attacks.attack import ERROR, KILLED, MEMORY, OK, TIMEOUT, Attack, by_number

ATTACKS = [
    Attack("one large object", MEMORY, "bytearray(1 << 30)\nprint('ESCAPED')"),
    Attack("list that grows", MEMORY, "x = []\nwhile True: x.append(bytes(10 ** 6))"),
    Attack("array", MEMORY, "import numpy\nnumpy.ones(10 ** 9)\nprint('ESCAPED')"),
    Attack("long text", MEMORY, "'a' * (1 << 30)\nprint('ESCAPED')"),
    Attack("endless iterator", (MEMORY, TIMEOUT), "import itertools\nlist(itertools.count())"),
    Attack("anonymous map", ERROR, "import mmap\nmmap.mmap(-1, 1 << 30)\nprint('ESCAPED')"),
    Attack(
        "swallowed memory errors",
        (MEMORY, TIMEOUT),
        "x = []\nwhile True:\n  try: x.append(bytes(10 ** 6))\n  except MemoryError: pass",
    ),
    Attack("file in memory", ERROR, by_number("memfd_create", "id(b'x')", "0")),
    Attack("shared memory", ERROR, by_number("shmget", "0", "1 << 20", "0o1600")),
    Attack("semaphores", ERROR, by_number("semget", "0", "10", "0o1600")),
    Attack("message queue", ERROR, by_number("msgget", "0", "0o1600")),
    Attack(
        "posix message queue", ERROR, by_number("mq_open", "id(b'q') + 32", "0o102", "0o600", "0")
    ),
    Attack("locked memory", ERROR, by_number("mlockall", "3")),
    Attack("shared memory file", ERROR, "open('/dev/shm/x', 'wb').write(b'1')\nprint('ESCAPED')"),
    Attack("output flood", TIMEOUT, "while True: print('spam' * 1000)"),
    Attack("error flood", TIMEOUT, "import sys\nwhile True: print('spam' * 1000, file=sys.stderr)"),
    Attack("raw output flood", TIMEOUT, "import os\nwhile True: os.write(1, b'x' * 65536)"),
    Attack("one long line", OK, "print('x' * 10_000_000)"),
    Attack("zeros and control characters", OK, "print('\\x00\\x1b[2J\\x07' * 10_000)"),
    Attack("bytes that are no text", OK, "import os\nos.write(1, bytes(range(256)) * 1000)"),
    Attack(
        "descriptors",
        ERROR,
        "import os\nkept = []\nwhile True: kept.append(os.open('/dev/null', 0))",
    ),
    Attack("pipes", ERROR, "import os\nkept = []\nwhile True: kept.append(os.pipe())"),
    Attack("large file", ERROR, "open('f', 'wb').write(bytes(64 << 20))\nprint('ESCAPED')"),
    Attack("file with a hole", ERROR, "open('f', 'wb').truncate(1 << 40)\nprint('ESCAPED')"),
    Attack(
        "many files of the allowed size",
        (ERROR, KILLED),
        # Without end: where the disk is looked at ten times a second only, 200 MB may be quicker.
        "i = 0\nwhile True:\n  open(str(i), 'wb').write(bytes(1 << 20))\n  i += 1",
    ),
    Attack(
        "many small files",
        (ERROR, KILLED, TIMEOUT),
        "for i in range(1_000_000): open(str(i), 'w').close()\nprint('ESCAPED')",
    ),
    Attack(
        "deep folders",
        (OK, ERROR, TIMEOUT),
        "import os\nfor i in range(600):\n  os.mkdir('d')\n  os.chdir('d')\nopen('f', 'w').close()",
    ),
    Attack("flush of all disks", ERROR, by_number("sync")),
    Attack(
        "raised memory limit",
        ERROR,
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nprint('ESCAPED')",
    ),
    Attack(
        "raised CPU limit",
        ERROR,
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99))\nprint('ESCAPED')",
    ),
    Attack(
        "raised file limit",
        ERROR,
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\nprint('ESCAPED')",
    ),
    Attack(
        "raised descriptor limit",
        ERROR,
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))\nprint('ESCAPED')",
    ),
    Attack("higher priority", ERROR, "import os\nos.nice(-5)\nprint('ESCAPED')"),
    Attack("another core", ERROR, "import os\nos.sched_setaffinity(0, [0])\nprint('ESCAPED')"),
    Attack(
        "real-time scheduling",
        ERROR,
        "import os\nos.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))\nprint('ESCAPED')",
    ),
]
