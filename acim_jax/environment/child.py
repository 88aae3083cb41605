"""What happens in the forked child of one program, from the fork to `_exit`.

Runs inside a fork server (`worker.py`): standard library only. A child has no channel back but its
standard output, its standard error and its wait status. The first byte on standard output is
written before any of the program's code runs and tells the server that confinement stood.
"""

import __future__

import ast
import builtins
import linecache
import os
import random
import signal
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Sequence
from typing import Literal, NoReturn, TextIO

from acim_jax.environment.sandbox import confinement as confinements
from acim_jax.environment.sandbox.confinement import Confinement

#: Written on standard output once the limits stand; the server strips it.
READY = b"\x01"
#: Exit code of a program that ended in `MemoryError`.
MEMORY_EXIT = 86
#: The program's name in tracebacks.
PROGRAM_NAME = "<program>"

_FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


def run(
    job: Callable[[], int], stdout: int, stderr: int, confinement: Confinement, server: int
) -> NoReturn:
    """Confines this freshly forked process, runs `job`, and exits with the code it returns.

    stdout, stderr: pipe ends to write to. server: process id of the fork server.
    """
    code, leave = 1, os._exit  # the program may take it away
    try:
        _take_streams(stdout, stderr)
        _settle(confinement.scratch)
        confinements.confine(confinement, server)
        os.closerange(3, 4096)
        os.write(1, READY)
        code = int(job()) & 0xFF  # anything else must not reach `leave`, which would raise
    except MemoryError:
        code = MEMORY_EXIT
    except BaseException:
        traceback.print_exc()
    finally:
        leave(code)


def _take_streams(stdout: int, stderr: int) -> None:
    """Puts `/dev/null` on 0 and the pipes on 1 and 2, with fresh text streams on them."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    sys.stdin = _text_stream(0, "r")
    sys.stdout = _text_stream(1, "w")
    sys.stderr = _text_stream(2, "w")


def _text_stream(fd: int, mode: Literal["r", "w"]) -> TextIO:
    """A stream that flushes every line: a killed program loses at most its last, unfinished one."""
    return open(fd, mode, encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _settle(scratch: str) -> None:
    """A process group of its own, the usual signal handlers, and the scratch folder as home."""
    os.setpgid(0, 0)  # the server kills all of it; a session costs a scheduling group, too
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPROF, signal.SIGXCPU, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.umask(0o077)
    os.chdir(scratch)
    os.environ.update(HOME=scratch, TMPDIR=scratch, PWD=scratch)
    tempfile.tempdir = None
    sys.dont_write_bytecode = True


def run_program(code: str, earlier: Sequence[str] = ()) -> int:
    """Runs `code` as a fresh `__main__` module and returns the exit code.

    When the last statement is an expression, its value is echoed as an interactive shell would.
    The global generators of `random` and `numpy.random` start from seed 0, so that a rollout can
    be repeated. earlier: programs that run before it in the same module, with nothing to be heard
    of them unless one fails.
    """
    prepare_interpreter()
    namespace = _fresh_main()
    for number, cell in enumerate(earlier, start=1):
        exit_code = _run_muted(cell, f"<cell {number}>", namespace)
        if exit_code:
            return exit_code
    return _run_cell(code, PROGRAM_NAME, namespace)


def _run_muted(code: str, name: str, namespace: dict[str, object]) -> int:
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        return _run_cell(code, name, namespace)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


def _run_cell(code: str, name: str, namespace: dict[str, object]) -> int:
    # A full traceback shows source lines, which exist nowhere on disk.
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    out, err = sys.stdout, sys.stderr
    try:
        exit_code = _execute(code, name, namespace)
        for thread in threading.enumerate():
            if thread is not threading.main_thread() and not thread.daemon:
                thread.join()
    except SystemExit as stop:
        exit_code = _system_exit_code(stop)
    except MemoryError:
        os.write(2, b"MemoryError\n")
        exit_code = MEMORY_EXIT
    except BaseException as error:
        _print_error(error, name)
        exit_code = 1
    for stream in (sys.stdout, sys.stderr, out, err):
        try:
            stream.flush()
        except (ValueError, OSError, AttributeError):
            continue  # the program closed or replaced it
    return exit_code


def prepare_interpreter() -> None:
    sys.set_int_max_str_digits(0)  # the CPU limit guards against slow conversions
    sys.argv = [PROGRAM_NAME]
    random.seed(0)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)


def _fresh_main() -> dict[str, object]:
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    return main.__dict__


def _execute(code: str, name: str, namespace: dict[str, object]) -> int:
    tree = ast.parse(code.removeprefix("\ufeff"), name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    body = compile(tree, name, "exec", dont_inherit=True)
    exec(body, namespace)
    if last is not None:
        echo = ast.Interactive([last])
        flags = body.co_flags & _FUTURES
        exec(compile(echo, name, "single", flags, dont_inherit=True), namespace)
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


def _print_error(error: BaseException, name: str) -> None:
    """Prints the traceback without the frames of this module."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename != name:
        frame = frame.tb_next
    # A program that replaced or closed sys.stderr still gets its traceback.
    traceback.print_exception(type(error), error, frame, file=_text_stream(2, "w"))
