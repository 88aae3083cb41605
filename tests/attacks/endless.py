"""Programs that never end, or end only when they want to."""

from tests.attacks.attack import ERROR, KILLED, MEMORY, OK, TIMEOUT, Attack

ATTACKS = [
    Attack("loop", TIMEOUT, "while True: pass"),
    Attack("sleep", TIMEOUT, "import time\ntime.sleep(1000)", 0.4),
    Attack(
        "loop that swallows everything",
        TIMEOUT,
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
    ),
    Attack(
        "ignored signals",
        TIMEOUT,
        "import signal\n"
        "for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "  signal.signal(number, signal.SIG_IGN)\n"
        "while True: pass",
    ),
    Attack(
        "blocked signals",
        TIMEOUT,
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))\n"
        "while True: pass",
    ),
    Attack(
        "disarmed timer",
        TIMEOUT,
        "import signal\nsignal.setitimer(signal.ITIMER_PROF, 0)\nwhile True: pass",
    ),
    Attack("power of powers", (TIMEOUT, MEMORY), "10 ** 10 ** 8"),
    Attack("long division in C", TIMEOUT, "x = 7 ** 3000000\nstr(x)"),
    Attack("regular expression", TIMEOUT, "import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    Attack("sum of a range", TIMEOUT, "sum(range(10 ** 12))"),
    Attack("stopped", TIMEOUT, "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", 0.4),
    Attack("waiting for a signal", TIMEOUT, "import signal\nsignal.pause()", 0.4),
    Attack(
        "deadlock",
        TIMEOUT,
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        0.4,
    ),
    Attack(
        "thread that stays",
        TIMEOUT,
        "import threading\ndef work():\n  while True: pass\nthreading.Thread(target=work).start()",
    ),
    Attack(
        "daemon thread that stays",
        OK,
        "import threading, time\n"
        "def work():\n  while True: time.sleep(0.01)\n"
        "threading.Thread(target=work, daemon=True).start()",
    ),
    Attack(
        "never lets go of exit",
        TIMEOUT,
        "import sys\nwhile True:\n  try: sys.exit(0)\n  except SystemExit: pass",
    ),
    Attack("end of input ignored", TIMEOUT, "while True:\n  try: input()\n  except EOFError: pass"),
    Attack("pipe without writer", TIMEOUT, "import os\nos.mkfifo('p')\nopen('p').read()", 0.4),
    Attack(
        "endless clean-up",
        TIMEOUT,
        "class Thing:\n  def __del__(self):\n    while True: pass\nthing = Thing()\ndel thing",
    ),
    Attack(
        "endless text of an exception",
        TIMEOUT,
        "class Bad(Exception):\n  def __str__(self):\n    while True: pass\nraise Bad",
    ),
    Attack(
        "endless exit code",
        TIMEOUT,
        "import sys\nclass Code:\n  def __str__(self):\n    while True: pass\nsys.exit(Code())",
    ),
    Attack("clean-up at exit", OK, "import atexit, time\natexit.register(time.sleep, 1000)"),
    Attack(
        "endless recursion",
        (ERROR, KILLED, MEMORY, TIMEOUT),
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
    ),
    Attack("deep expression", (ERROR, MEMORY, KILLED), "(" * 100_000 + ")" * 100_000),
    Attack("deep operators", (ERROR, MEMORY, KILLED), "-" * 200_000 + "1"),
]
