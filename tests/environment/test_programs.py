"""What programs see and how they end: statuses, output, limits."""

import time

import pytest

from acim_jax.environment.executor import Executor
from acim_jax.records import Status

ENDINGS = [
    ("print(6 * 7)", Status.OK),
    ("", Status.OK),
    ("exit()", Status.OK),
    ("import sys\nsys.exit(0)", Status.OK),
    ("import warnings\nwarnings.warn('careful')", Status.OK),
    ("1/0", Status.ERROR),
    ("x = (", Status.ERROR),
    ("print('a\\x00b'", Status.ERROR),
    ("exit(3)", Status.ERROR),
    ("import sys\nsys.exit('no')", Status.ERROR),
    ("import os\nos._exit(7)", Status.ERROR),
    ("raise KeyboardInterrupt", Status.ERROR),
    ("def f(): f()\nf()", Status.ERROR),
    ("input()", Status.ERROR),
    ("bytearray(400 << 20)", Status.MEMORY),
    ("import numpy\nnumpy.ones(10**9)", Status.MEMORY),
    ("x = []\nwhile True: x.append(bytes(10**6))", Status.MEMORY),
    ("import os\nos.abort()", Status.KILLED),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", Status.KILLED),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", Status.KILLED),
]


@pytest.mark.parametrize(("code", "status"), ENDINGS)
def test_ending(executor: Executor, code: str, status: Status) -> None:
    result = executor.submit(code).result()
    assert result.status is status, result
    assert result.code == code


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "7 ** 123456789",  # one C call that never looks at signals
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
        "import signal\nsignal.signal(signal.SIGPROF, signal.SIG_IGN)\nwhile True: pass",
    ],
)
def test_cpu_limit_ends_a_program_long_before_its_wall_limit(executor: Executor, code: str) -> None:
    begin = time.process_time()
    result = executor.submit(code).result()
    assert result.status is Status.TIMEOUT
    assert 0.8 < result.wall_s < 20.0
    assert time.process_time() - begin < 1.0  # waiting costs this process nothing


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.sleep(60)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "import signal, time\n[signal.signal(s, 1) for s in (1, 2, 15)]\ntime.sleep(60)",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()",
    ],
)
def test_wall_limit_ends_a_program_that_uses_no_cpu(executor: Executor, code: str) -> None:
    result = executor.submit(code, timeout_s=0.3).result()
    assert result.status is Status.TIMEOUT
    assert 0.3 <= result.wall_s < 5.0


OUTPUTS = [
    ("x = 20\nx + 1", "21\n"),
    ("'a'", "'a'\n"),
    ("None", ""),
    ("print('a')\nprint('b')", "a\nb\n"),
    ("print(1)\n[2]", "1\n[2]\n"),
    ("x = 1\nfor i in range(3): x\n", ""),
    ("x = 5\r\nprint(x)\r\nx + 1\r\n", "5\n6\n"),
    ("\ufeffprint(1)", "1\n"),
    ("print('é π 😀')", "é π 😀\n"),
    ("print('\\ud800')", "\\ud800\n"),
    ("__name__", "'__main__'\n"),
    ("import sys\nsys.stdin.read()", "''\n"),
    ("import dataclasses\n@dataclasses.dataclass\nclass P:\n  x: int\nP(3)", "P(x=3)\n"),
    ("def f(n): return 1 if n < 2 else n * f(n - 1)\nf(20)", "2432902008176640000\n"),
    ("import pickle\nclass C: pass\ntype(pickle.loads(pickle.dumps(C()))).__name__", "'C'\n"),
    ("from __future__ import annotations\ndef f(x: unknown): return x\nf(2)", "2\n"),
    ("import sympy\nx = sympy.Symbol('x')\nsympy.solve(x**2 - 4, x)", "[-2, 2]\n"),
    ("import numpy as np\nnp.arange(3)", "array([0, 1, 2])\n"),
    ("len(str(10**5000))", "5001\n"),
    ("import atexit, random\nrandom.seed(1)\nrandom.randint(0, 99)", "17\n"),
    ("import os\nos.listdir('.')", "[]\n"),
    ("import os\nos.getpid() == os.getpgid(0)", "True\n"),
    ("open('a.txt', 'w').write('hello')\nopen('a.txt').read()", "'hello'\n"),
    ("try:\n  open('b', 'wb').write(bytes(2 << 20))\nexcept OSError as e: print(e.errno)", "27\n"),
    ("import os\nsorted(k for k in os.environ if 'KEY' in k or 'TOKEN' in k)", "[]\n"),
    ("import threading\nthreading.Thread(target=print, args=('late',)).start()", "late\n"),
]


@pytest.mark.parametrize(("code", "stdout"), OUTPUTS)
def test_output(executor: Executor, code: str, stdout: str) -> None:
    result = executor.submit(code).result()
    assert (result.status, result.stdout) == (Status.OK, stdout), result
    assert not result.truncated


def test_error_text_is_the_traceback_of_the_program_alone(executor: Executor) -> None:
    result = executor.submit("def f(x):\n    return 1 / x\nprint('before')\nf(0)").result()
    assert result.stdout == "before\n"
    assert result.stderr.splitlines()[:4] == [
        "Traceback (most recent call last):",
        '  File "<program>", line 4, in <module>',
        "    f(0)",
        '  File "<program>", line 2, in f',
    ]
    assert result.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_syntax_error_names_its_line(executor: Executor) -> None:
    result = executor.submit("x = 1\ny = = 2").result()
    assert 'File "<program>", line 2' in result.stderr
    assert "SyntaxError" in result.stderr.splitlines()[-1]


def test_long_output_keeps_head_and_tail_and_counts_the_rest(executor: Executor) -> None:
    result = executor.submit("print('é' * 100_000 + 'end')").result()
    assert result.truncated
    assert result.stdout == "é" * 200 + "[99604 characters cut]" + "é" * 196 + "end\n"


def test_output_at_the_limit_is_whole(executor: Executor) -> None:
    result = executor.submit("print('é' * 399)").result()
    assert (result.stdout, result.truncated) == ("é" * 399 + "\n", False)


def test_endless_output_ends_by_cpu_time(executor: Executor) -> None:
    result = executor.submit("while True: print('spam' * 1000)").result()
    assert result.status is Status.TIMEOUT
    assert result.truncated and len(result.stdout) < 500


def test_output_before_a_timeout_is_kept(executor: Executor) -> None:
    result = executor.submit("print('found 5')\nwhile True: pass").result()
    assert (result.status, result.stdout) == (Status.TIMEOUT, "found 5\n")


@pytest.mark.parametrize("module", ["scipy", "jax", "math_verify", "acim_jax", "rich", "pip"])
def test_modules_outside_the_list_are_refused_even_if_installed(
    executor: Executor, module: str
) -> None:
    result = executor.submit(f"import {module}").result()
    assert result.stderr.splitlines()[-1] == f"ModuleNotFoundError: No module named '{module}'"


def test_a_program_leaves_nothing_to_the_next(executor: Executor) -> None:
    executor.run(["import builtins, math\nbuiltins.print = None\nmath.pi = 3\nx = 1"] * 4)
    after = executor.submit("import math\nprint(math.pi, 'x' in globals())").result()
    assert after.stdout == "3.141592653589793 False\n"


def test_unseeded_random_numbers_repeat(executor: Executor) -> None:
    code = "import random, numpy\nprint(random.random(), numpy.random.rand(), hash('a'))"
    first, second = executor.run([code, code])
    assert first.stdout == second.stdout != ""


def test_exit_codes_that_the_executor_uses_itself_forge_no_failure_of_ours(
    executor: Executor,
) -> None:
    results = executor.run([f"import os\nos._exit({code})" for code in (10, 11, 86, 1, 255)])
    assert {result.status for result in results} <= {Status.ERROR, Status.MEMORY}
