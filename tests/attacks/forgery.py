"""Programs that pretend: results, failures of the harness, another program's state."""

from tests.attacks.attack import ERROR, KILLED, MEMORY, OK, TIMEOUT, Attack

_REPLY = '{"confined": true, "exit": 0, "stdout": "forged", "reason": "", "infra": "x"}'

ATTACKS = [
    Attack("leave with 0 after an error", OK, "import os\nos._exit(0)"),
    Attack("exit code of a comparison", ERROR, "import os\nos._exit(10)"),
    Attack("other exit code of a comparison", ERROR, "import os\nos._exit(11)"),
    Attack("largest exit code", ERROR, "import os\nos._exit(255)"),
    Attack("exit code beyond a byte", OK, "import sys\nsys.exit(256)"),
    Attack("printed reply", OK, f"print('''{_REPLY}''')"),
    Attack("printed mark", OK, "import os\nos.write(1, b'\\x01\\x01')"),
    Attack(
        "reply on every descriptor",
        OK,
        "import os, struct\n"
        f"data = b'''{_REPLY}'''\n"
        "for fd in range(3, 256):\n"
        "  try:\n    os.write(fd, struct.pack('!I', len(data)) + data)\n    print('ESCAPED', fd)\n"
        "  except OSError: pass",
    ),
    Attack(
        "readable descriptors",
        OK,
        "import os\n"
        "for fd in range(3, 256):\n"
        "  try:\n    os.read(fd, 1)\n    print('ESCAPED', fd)\n  except OSError: pass",
    ),
    Attack(
        "pickle on standard output", OK, "import os, pickle\nos.write(1, pickle.dumps(os.getcwd))"
    ),
    Attack(
        "patched serialisers",
        OK,
        "import json, pickle, struct\njson.dumps = pickle.dumps = struct.pack = None",
    ),
    Attack(
        "patched builtins",
        OK,
        "import builtins\nfor name in ('print', 'open', 'len', 'isinstance', 'exec', 'compile'):\n"
        "  setattr(builtins, name, None)",
    ),
    Attack("removed builtins", ERROR, "import builtins\nbuiltins.__dict__.clear()"),
    Attack(
        "patched operating system",
        OK,
        "import os, sys, threading, traceback\n"
        "os._exit = os.write = os.read = None\nthreading.enumerate = lambda: []\n"
        "traceback.print_exception = None\nsys.stdout = sys.stderr = None",
    ),
    Attack(
        "patched frames above",
        (OK, ERROR),
        "import sys\nframe = sys._getframe()\n"
        "while frame:\n"
        "  for value in list(frame.f_locals.values()):\n"
        "    if isinstance(value, dict): value.clear()\n"
        "  frame.f_globals.clear()\n"
        "  frame = frame.f_back",
    ),
    Attack(
        "modules of the harness",
        ERROR,
        "import sys\nassert not [m for m in sys.modules if m.startswith('acim')]\n"
        "import acim_jax.environment.child\nprint('ESCAPED')",
    ),
    Attack(
        "objects of others",
        OK,
        "import gc\nfor thing in gc.get_objects():\n"
        "  if isinstance(thing, dict) and 'prediction' in thing: print('ESCAPED', thing)",
    ),
    Attack("closed streams", OK, "import os\nprint('x')\nos.close(1)\nos.close(2)"),
    Attack(
        "closed text streams", (OK, ERROR), "import sys\nsys.stdout.close()\nsys.stderr.close()"
    ),
    Attack("crossed streams", ERROR, "import os\nos.dup2(0, 1)\nos.dup2(0, 2)\nprint('x')"),
    Attack("closed everything", (OK, ERROR), "import os\nos.closerange(0, 100)"),
    Attack("exception without a text", ERROR, "class Bad(Exception):\n  __str__ = None\nraise Bad"),
    Attack(
        "exception that ends the harness",
        (OK, ERROR),
        "class Bad(BaseException):\n  def __str__(self): raise SystemExit(0)\nraise Bad",
    ),
    Attack(
        "chain of exceptions without end",
        (ERROR, TIMEOUT, MEMORY),
        "first = ValueError('a')\nlast = first\n"
        "for i in range(100000):\n  new = ValueError(i)\n  last.__cause__ = new\n  last = new\n"
        "raise first",
    ),
    Attack("abort", KILLED, "import os\nos.abort()"),
    Attack("crash", KILLED, "import ctypes\nctypes.string_at(0)"),
    Attack(
        "crash of the interpreter",
        KILLED,
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    ),
    Attack("killed by itself", KILLED, "import os\nos.kill(os.getpid(), 9)"),
    Attack("memory error of its own", MEMORY, "raise MemoryError"),
    Attack("keyboard interrupt", ERROR, "raise KeyboardInterrupt"),
    Attack(
        "exit in a thread",
        OK,
        "import threading, os\nthreading.Thread(target=os._exit, args=(0,)).start()",
    ),
    Attack("trace function", (OK, ERROR), "import sys\nsys.settrace(lambda *a: 1 / 0)\nprint(1)"),
    Attack(
        "hostile main", ERROR, "import sys\nsys.modules['__main__'] = None\nsys.modules.clear()"
    ),
    # What the next program must not see; the harness runs one after each attack.
    Attack("changed constant", OK, "import math\nmath.pi = 3"),
    Attack("changed module", OK, "import sympy\nsympy.solve = lambda *a: ['ESCAPED']"),
    Attack("changed path", OK, "import sys\nsys.path.insert(0, '.')\nsys.meta_path.clear()"),
    Attack(
        "changed environment", OK, "import os\nos.environ['PYTHONSTARTUP'] = 'x'\nos.chdir('/')"
    ),
    Attack("changed digits", OK, "import sys\nsys.set_int_max_str_digits(640)"),
    Attack(
        "thread left over",
        OK,
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
    ),
    Attack("timer left over", OK, "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.05)"),
]
