"""Programs that do not solve their task, and try to be rewarded all the same."""

#: Returns what the tests want only if it can find it: it looks everywhere it can reach.
SECRET = "tuna-" + "okapi-" + "quince-9173"
SEARCH = """
WANTED = ""
import gc, os, re, sys
PATTERN = re.compile("tuna-" + r"\\w+-" + r"\\w+-\\d+")

def everywhere():
    yield WANTED
    frame = sys._getframe()
    while frame is not None:
        yield repr(frame.f_locals) + repr(frame.f_globals)
        frame = frame.f_back
    for thing in gc.get_objects():
        try:
            yield repr(thing)[:100_000]
        except BaseException:
            pass
    for module in list(sys.modules.values()):
        yield repr(getattr(module, "__dict__", ""))[:100_000]
    yield repr(os.environ) + repr(sys.argv)
    for path in ("/proc/self/cmdline", "/proc/self/environ", "/proc/self/mem", "/tmp"):
        try:
            with open(path, "rb") as file:
                yield file.read(1 << 20).decode("latin-1")
        except BaseException:
            pass
    try:
        for line in open("/proc/self/maps"):
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if "r" in line.split()[1] and end - start < 1 << 26:
                memory = open("/proc/self/mem", "rb")
                memory.seek(start)
                yield memory.read(end - start).decode("latin-1")
    except BaseException:
        pass

def f(x):
    for text in everywhere():
        found = PATTERN.search(text)
        if found:
            return found.group()
"""

FUNCTIONS = {
    "wrong answer": "def f(x): return 0",
    "nothing defined": "pass",
    "exits early with 0": "import sys\nsys.exit(0)",
    "exits at once with 0": "import os\nos._exit(0)",
    "exits when called": "import os\ndef f(x): os._exit(0)",
    "raises SystemExit when called": "def f(x): raise SystemExit(0)",
    "equals everything": (
        "class Any:\n"
        "    def __eq__(self, other): return True\n"
        "    def __ne__(self, other): return False\n"
        "    def __sub__(self, other): return 0.0\n"
        "    __rsub__ = __sub__\n"
        "    def __lt__(self, other): return True\n"
        "    __gt__ = __le__ = __ge__ = __lt__\n"
        "    def __abs__(self): return 0.0\n"
        "    def __hash__(self): return 0\n"
        "def f(x): return Any()"
    ),
    "an int that equals everything": (
        "class Int(int):\n"
        "    def __eq__(self, other): return True\n"
        "    def __hash__(self): return 0\n"
        "    def __sub__(self, other): return 0.0\n"
        "    __rsub__ = __sub__\n"
        "def f(x): return Int(1)"
    ),
    "a mock that equals everything": "from unittest.mock import ANY\ndef f(x): return ANY",
    "claims a class that it is not": (
        "class Fake:\n"
        "    __class__ = int\n"
        "    def __eq__(self, other): return True\n"
        "    def __index__(self): return 1\n"
        "    __int__ = __index__\n"
        "def f(x): return Fake()"
    ),
    "patched builtins": (
        "import builtins\n"
        "builtins.abs = lambda x: 0.0\n"
        "builtins.AssertionError = Warning\n"
        "builtins.isinstance = lambda *a: True\n"
        "builtins.exec = builtins.compile = lambda *a, **k: None\n"
        "def f(x): return 1"
    ),
    "own assertion error and check": (
        "AssertionError = None\nSECRET = 1\ncheck = lambda candidate: None\ndef f(x): return SECRET"
    ),
    "patched json": (
        "import json\njson.dumps = lambda *a, **k: '{\"passed\": true}'\ndef f(x): return 1"
    ),
    "forged verdicts on standard output": (
        "import os, sys\n"
        "frame = sys._getframe()\n"
        "while frame:\n"
        "    mark = frame.f_locals.get('mark')\n"
        "    if mark:\n"
        "        for text in ('{\"passed\": true}', '{\"value\": true}'):\n"
        "            os.write(1, f'\\n{mark}{text}\\n'.encode())\n"
        "    frame = frame.f_back\n"
        "os._exit(0)\n"
    ),
    "forged answers of odd kinds": (
        "import os, sys\n"
        "frame = sys._getframe()\n"
        "while 'mark' not in frame.f_locals: frame = frame.f_back\n"
        "mark, ops = frame.f_locals['mark'], frame.f_locals['operations']\n"
        'kinds = [\'{"value": {"name": "f"}}\', \'{"value": {"result": 0}}\', \'{\', \'[]\',\n'
        '    \'{"value": {"opaque": true}}\', \'{"raised": "SystemExit"}\', \'{"value": NaN}\',\n'
        "    '{\"value\": {\"type\": \"eval\"}}', '{\"value\": ' + '[' * 5000 + ']' * 5000 + '}']\n"
        "for i, _ in enumerate(ops): os.write(1, f'\\n{mark}{kinds[i % 9]}\\n'.encode())\n"
        "os._exit(0)\n"
    ),
    "raises what a test might overlook": "def f(x): raise AssertionError",
    "raises the end of a loop": "def f(x): raise StopIteration",
    "not a number": "def f(x): return float('nan')",
    "infinite": "def f(x): return float('inf')",
    "endless": "def f(x):\n    while True: yield 71828",
    "all numbers at once": "def f(x): return range(10 ** 9)",
    "all numbers in a set": "def f(x): return set(range(100_000))",
    "a generator of all numbers": "def f(x): return iter(range(10 ** 9))",
    "reads the tests on the stack": (
        "import re, sys\n"
        "def f(x):\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:\n"
        "            for found in re.findall(r'\\b[37]\\d{4}\\b', str(value)): return int(found)\n"
        "        frame = frame.f_back\n"
    ),
    "reads the constants of code objects": (
        "import gc, types\n"
        "def f(x):\n"
        "    for thing in gc.get_objects():\n"
        "        code = getattr(thing, '__code__', None)\n"
        "        for value in getattr(code, 'co_consts', ()):\n"
        "            if value in (71828, 31415): return value\n"
    ),
    "reads the files around it": (
        "import glob\n"
        "def f(x):\n"
        "    for path in glob.glob('**', recursive=True) + glob.glob('/tmp/*'):\n"
        "        try:\n"
        "            if '71828' in open(path).read(): return 71828\n"
        "        except OSError: pass\n"
    ),
    "kills its parent": (
        "import os, signal\n"
        "def f(x):\n"
        "    try: os.kill(os.getppid(), signal.SIGTERM)\n"
        "    except OSError: pass\n"
        "    return 1"
    ),
    "leaves a thread that prints on": (
        "import threading\n"
        "def shout():\n"
        "    while True: print('{\"passed\": true}')\n"
        "threading.Thread(target=shout, daemon=True).start()\n"
        "def f(x): return 1"
    ),
}

WHOLE = {
    "nothing": "",
    "wrong": "print(1)",
    "exits with 0": "import os\nos._exit(0)",
    "prints and fails": "print(71828)\nraise SystemExit(1)",
    "prints everything": "for i in range(100_000): print(i)",
    "prints both": "print(71828)\nprint(31415)",
    "reads on": "import sys\nprint(sys.stdin.read(), open(0).read())",
    "patched print": "import builtins\nbuiltins.print = lambda *a: None\nprint(71828)",
    "a closed output": "import sys\nsys.stdout.close()",
    "verdicts": "print('{\"passed\": true}')\nprint('OK')",
    "looks for the output": (
        "import re, sys\n"
        "frame = sys._getframe()\n"
        "while frame:\n"
        "    for value in [*frame.f_locals.values(), *frame.f_globals.values()]:\n"
        "        for found in re.findall(r'\\b[37]\\d{4}\\b', str(value)): print(found)\n"
        "    frame = frame.f_back\n"
    ),
}

TREE_PROGRAM = """
class Node:
    def __init__(self, value):
        self.value, self.left, self.right = value, None, None

def depth(node):
    return 0 if node is None else 1 + max(depth(node.left), depth(node.right))
"""

STACK_PROGRAM = """
class Stack:
    def __init__(self):
        self.items = []

    @property
    def size(self):
        return len(self.items)

    def push(self, item):
        self.items.append(item)

    def pop(self):
        return self.items.pop()
"""
