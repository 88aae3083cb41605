"""Programs that start other processes, or threads without end."""

from tests.attacks.attack import ERROR, MEMORY, TIMEOUT, Attack, by_number

_STARTED = "print('ESCAPED')"

ATTACKS = [
    Attack("fork", ERROR, f"import os\nos.fork()\n{_STARTED}"),
    Attack("fork bomb", ERROR, f"import os\nwhile True:\n  os.fork()\n  {_STARTED}"),
    Attack(
        "daemon",
        ERROR,
        f"import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n{_STARTED}",
    ),
    Attack("pseudo-terminal", ERROR, f"import pty\npty.fork()\n{_STARTED}"),
    Attack(
        "subprocess", ERROR, f"import subprocess\nsubprocess.run(['/bin/echo', 'x'])\n{_STARTED}"
    ),
    Attack("shell", ERROR, "import os\nassert os.system('echo ESCAPED') == 0"),
    Attack("popen", ERROR, f"import os\nos.popen('echo x').read()\n{_STARTED}"),
    Attack(
        "posix_spawn",
        ERROR,
        f"import os\nos.posix_spawn('/bin/echo', ['echo', 'ESCAPED'], {{}})\n{_STARTED}",
    ),
    Attack("exec", ERROR, "import os\nos.execv('/bin/echo', ['echo', 'ESCAPED'])"),
    Attack(
        "exec of the interpreter",
        ERROR,
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(\"ESCAPED\")'])",
    ),
    Attack(
        "exec of an own file",
        ERROR,
        "import os\nopen('run', 'w').write('#!/bin/sh\\necho ESCAPED')\nos.chmod('run', 0o755)\n"
        "os.execv('./run', ['run'])",
    ),
    Attack(
        "multiprocessing",
        ERROR,
        "import multiprocessing\np = multiprocessing.Process(target=print, args=('ESCAPED',))\n"
        "p.start()\np.join()",
    ),
    Attack(
        "process pool",
        ERROR,
        "import concurrent.futures\n"
        "with concurrent.futures.ProcessPoolExecutor() as pool: list(pool.map(abs, [1]))\n"
        f"{_STARTED}",
    ),
    Attack(
        "asyncio sub-process",
        ERROR,
        "import asyncio\n"
        "async def main(): await asyncio.create_subprocess_exec('/bin/echo', 'x')\n"
        f"asyncio.run(main())\n{_STARTED}",
    ),
    Attack("fork of the C library", ERROR, "import ctypes\nassert ctypes.CDLL(None).fork() >= 0"),
    Attack("fork by number", ERROR, by_number("fork")),
    Attack("vfork by number", ERROR, by_number("vfork")),
    Attack("clone by number", ERROR, by_number("clone", "17", "0", "0", "0", "0")),
    Attack("clone3 by number", ERROR, by_number("clone3", "0", "88")),
    Attack(
        "clone into a user namespace",
        ERROR,
        by_number("clone", "0x10000000 | 17", "0", "0", "0", "0"),
    ),
    Attack(
        "threads without end",
        (ERROR, MEMORY, TIMEOUT),
        "import threading\nthreading.stack_size(65536)\nstop = threading.Event()\n"
        "try:\n"
        "  for i in range(5000): threading.Thread(target=stop.wait, daemon=True).start()\n"
        f"  {_STARTED}\n"
        "except RuntimeError:\n  raise\n",
    ),
]
