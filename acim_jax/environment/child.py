"""What happens in the forked child of one program, from the fork to `_exit`.

Runs inside a fork server (`worker.py`): standard library only. A child has no channel back but its
standard output, its standard error and its wait status. The first byte on standard output is
written before any of the program's code runs and tells the server that confinement stood.
"""

import __future__

import ast
import builtins
import ctypes
import dataclasses
import linecache
import math
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable
from typing import Literal, NoReturn, TextIO

#: Written on standard output once the limits stand; the server strips it.
READY = b"\x01"
#: Exit code of a program that ended in `MemoryError`.
MEMORY_EXIT = 86
#: Exit codes of a symbolic comparison. Others mean that it failed.
EQUAL_EXIT, DIFFERENT_EXIT = 10, 11
#: The program's name in tracebacks.
PROGRAM_NAME = "<program>"

IS_LINUX = sys.platform == "linux"
LIBC = ctypes.CDLL(None)  # loaded before the fork: it costs every child 1 ms otherwise
_PR_SET_PDEATHSIG = 1
_FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one child may use.

    cpu_seconds: CPU time of the process. memory_bytes: growth of the address space over
    `base_bytes`, the fork server's own (Linux). file_bytes: size of one file. open_files: file
    descriptors.
    """

    cpu_seconds: float
    memory_bytes: int
    file_bytes: int
    open_files: int = 64
    base_bytes: int = 0


def run(
    job: Callable[[], int], stdout: int, stderr: int, scratch: str, limits: Limits, server: int
) -> NoReturn:
    """Confines this freshly forked process, runs `job`, and exits with the code it returns.

    stdout, stderr: pipe ends to write to. server: process id of the fork server.
    """
    code = 1
    try:
        _take_fds(stdout, stderr)
        confine(scratch, limits, server)
        os.write(1, READY)
        code = job()
    except MemoryError:
        code = MEMORY_EXIT
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _take_fds(stdout: int, stderr: int) -> None:
    """Leaves nothing open but 0 (`/dev/null`), 1 and 2, with fresh text streams on them."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, 4096)
    sys.stdin = _text_stream(0, "r")
    sys.stdout = _text_stream(1, "w")
    sys.stderr = _text_stream(2, "w")


def _text_stream(fd: int, mode: Literal["r", "w"]) -> TextIO:
    """A stream that flushes every line: a killed program loses at most its last, unfinished one."""
    return open(fd, mode, encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def confine(scratch: str, limits: Limits, server: int) -> None:
    """Everything that stands between the server and the program. Kernel filters go at its end.

    Raises `OSError` or `ValueError` if a limit cannot be set; the server reports that as its own
    failure, because `READY` was not written.
    """
    os.setsid()  # own process group: the server kills all of it
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPROF, signal.SIGXCPU, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if IS_LINUX:
        LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server:
            raise OSError("the fork server ended before the child was confined")
    os.umask(0o077)
    os.chdir(scratch)
    os.environ.update(HOME=scratch, TMPDIR=scratch, PWD=scratch)
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits.open_files, limits.open_files))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    if IS_LINUX:
        space = limits.base_bytes + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
    seconds = math.ceil(limits.cpu_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds + 1, seconds + 2))
    # Precise below a second; a program that disarms it meets RLIMIT_CPU, then the wall clock.
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)


def address_space() -> int:
    """Bytes of virtual memory that this process has mapped (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def run_program(code: str) -> int:
    """Runs `code` as a fresh `__main__` module and returns the exit code.

    When the last statement is an expression, its value is echoed as an interactive shell would.
    The global generators of `random` and `numpy.random` start from seed 0, so that a rollout can
    be repeated.
    """
    _prepare_interpreter(code)
    out, err = sys.stdout, sys.stderr
    try:
        exit_code = _execute(code, _fresh_main())
        for thread in threading.enumerate():
            if thread is not threading.main_thread() and not thread.daemon:
                thread.join()
    except SystemExit as stop:
        exit_code = _system_exit_code(stop)
    except MemoryError:
        os.write(2, b"MemoryError\n")
        exit_code = MEMORY_EXIT
    except BaseException as error:
        _print_error(error)
        exit_code = 1
    for stream in (sys.stdout, sys.stderr, out, err):
        try:
            stream.flush()
        except (ValueError, OSError, AttributeError):
            continue  # the program closed or replaced it
    return exit_code


def _prepare_interpreter(code: str) -> None:
    sys.set_int_max_str_digits(0)  # the CPU limit guards against slow conversions
    sys.argv = [PROGRAM_NAME]
    # A full traceback shows source lines, which exist nowhere on disk.
    linecache.cache[PROGRAM_NAME] = (len(code), None, code.splitlines(True), PROGRAM_NAME)
    random.seed(0)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)


def _fresh_main() -> dict[str, object]:
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    return main.__dict__


def _execute(code: str, namespace: dict[str, object]) -> int:
    tree = ast.parse(code.removeprefix("\ufeff"), PROGRAM_NAME)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    body = compile(tree, PROGRAM_NAME, "exec", dont_inherit=True)
    exec(body, namespace)
    if last is not None:
        echo = ast.Interactive([last])
        flags = body.co_flags & _FUTURES
        exec(compile(echo, PROGRAM_NAME, "single", flags, dont_inherit=True), namespace)
    return 0


def _system_exit_code(stop: SystemExit) -> int:
    match stop.code:
        case None:
            return 0
        case int():
            return stop.code & 0xFF
        case _:
            print(stop.code, file=sys.stderr)
            return 1


def _print_error(error: BaseException) -> None:
    """Prints the traceback without the frames of this module."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename != PROGRAM_NAME:
        frame = frame.tb_next
    # A program that replaced or closed sys.stderr still gets its traceback.
    traceback.print_exception(type(error), error, frame, file=_text_stream(2, "w"))
