"""Programs that disturb, trace or change other processes."""

from tests.attacks.attack import BLOCKED, ERROR, OK, Attack, by_number

ATTACKS = [
    Attack("kill the parent", ERROR, "import os\nos.kill(@PARENT@, 9)\nprint('ESCAPED')"),
    Attack("look for the parent", ERROR, "import os\nos.kill(@PARENT@, 0)\nprint('ESCAPED')"),
    Attack("kill another process", ERROR, "import os\nos.kill(@VICTIM@, 9)\nprint('ESCAPED')"),
    Attack("kill the server", ERROR, "import os\nos.kill(os.getppid(), 9)\nprint('ESCAPED')"),
    Attack("stop the server", ERROR, "import os\nos.kill(os.getppid(), 19)\nprint('ESCAPED')"),
    Attack("kill everybody", ERROR, "import os\nos.kill(-1, 9)\nprint('ESCAPED')"),
    Attack("kill the first process", ERROR, "import os\nos.kill(1, 9)\nprint('ESCAPED')"),
    Attack(
        "kill a group", ERROR, "import os\nos.killpg(os.getpgid(@VICTIM@), 9)\nprint('ESCAPED')"
    ),
    Attack("kill the server's group", ERROR, "import os\nos.killpg(1, 9)\nprint('ESCAPED')"),
    Attack("kill by number", ERROR, by_number("kill", "@VICTIM@", "9")),
    Attack("kill a thread by number", ERROR, by_number("tkill", "@VICTIM@", "9")),
    Attack("kill a thread in its group", ERROR, by_number("tgkill", "@VICTIM@", "@VICTIM@", "9")),
    Attack("queue a signal", ERROR, by_number("rt_sigqueueinfo", "@VICTIM@", "9", "0")),
    Attack("descriptor of a process", ERROR, by_number("pidfd_open", "@VICTIM@", "0")),
    Attack("steal a descriptor", BLOCKED, by_number("pidfd_getfd", "3", "0", "0")),
    Attack("trace the parent", BLOCKED, by_number("ptrace", "16", "@PARENT@", "0", "0")),
    Attack("trace another process", BLOCKED, by_number("ptrace", "0x4206", "@VICTIM@", "0", "0")),
    Attack("trace the server", BLOCKED, by_number("ptrace", "16", "os.getppid()", "0", "0")),
    Attack(
        "read the parent's memory",
        BLOCKED,
        by_number("process_vm_readv", "@PARENT@", "0", "0", "0", "0", "0"),
    ),
    Attack(
        "write the server's memory",
        BLOCKED,
        by_number("process_vm_writev", "os.getppid()", "0", "0", "0", "0", "0"),
    ),
    Attack(
        "compare with the parent",
        BLOCKED,
        by_number("kcmp", "@PARENT@", "os.getpid()", "0", "0", "0"),
    ),
    Attack("outlive the server", ERROR, by_number("prctl", "1", "0", "0", "0", "0")),
    Attack("become dumpable", ERROR, by_number("prctl", "4", "1", "0", "0", "0")),
    Attack("slow the parent down", ERROR, by_number("setpriority", "0", "@PARENT@", "19")),
    Attack("limit the parent", ERROR, by_number("prlimit64", "@PARENT@", "7", "id(b'') + 32", "0")),
    Attack(
        "move the parent", ERROR, by_number("sched_setaffinity", "@PARENT@", "8", "id(b'') + 32")
    ),
    Attack("own group", ERROR, "import os\nos.setpgid(0, os.getppid())\nprint('ESCAPED')"),
    Attack("own session", ERROR, "import os\nos.setsid()\nprint('ESCAPED')"),
    Attack("end itself by a signal it may send", OK, "import os, signal\nos.kill(os.getpid(), 0)"),
]
