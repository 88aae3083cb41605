"""Running a model-written program in a confined child: the job of the executor's servers."""

import __future__

import ast
import builtins
import linecache
import os
import random
import sys
import threading
import traceback
import types
from collections.abc import Sequence

from acim_jax.environment import child

#: The program's name in tracebacks.
_NAME = "<program>"

_FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


def run(code: str, earlier: Sequence[str] = ()) -> int:
    """Runs `code` as a fresh `__main__` module and returns the exit code.

    When the last statement is an expression, its value is echoed as an interactive shell would.
    earlier: programs that run before it in the same module. What they print is discarded, except
    for the error of one that fails, which ends the run.
    """
    make_repeatable()
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    for number, cell in enumerate(earlier, start=1):
        kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        exit_code = _run(cell, f"<cell {number}>", main.__dict__)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)
        if exit_code:
            return exit_code
    return _run(code, _NAME, main.__dict__)


def make_repeatable() -> None:
    """Gives every child of every server the same arguments and global random numbers."""
    sys.set_int_max_str_digits(0)  # the CPU limit guards against slow conversions
    sys.argv = [_NAME]
    random.seed(0)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)


def _run(code: str, name: str, namespace: dict[str, object]) -> int:
    # A full traceback shows source lines, which exist nowhere on disk.
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    out, err = sys.stdout, sys.stderr
    exit_code = 0
    try:
        _execute(code, name, namespace)
        for thread in threading.enumerate():
            if thread is not threading.main_thread() and not thread.daemon:
                thread.join()
    except SystemExit as stop:
        exit_code = _system_exit_code(stop)
    except MemoryError:
        os.write(2, b"MemoryError\n")
        exit_code = child.MEMORY_EXIT
    except BaseException as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_frame.f_code.co_filename != name:
            frame = frame.tb_next  # without the frames of this module
        # A program that replaced or closed sys.stderr still gets its traceback.
        traceback.print_exception(type(error), error, frame, file=child.text_stream(2, "w"))
        exit_code = 1
    for stream in (sys.stdout, sys.stderr, out, err):
        try:
            stream.flush()
        except (ValueError, OSError, AttributeError):
            continue  # the program closed or replaced it
    return exit_code


def _execute(code: str, name: str, namespace: dict[str, object]) -> None:
    tree = ast.parse(code.removeprefix("\ufeff"), name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    body = compile(tree, name, "exec", dont_inherit=True)
    exec(body, namespace)
    if last is not None:
        echo = ast.Interactive([last])
        flags = body.co_flags & _FUTURES
        exec(compile(echo, name, "single", flags, dont_inherit=True), namespace)


def _system_exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    print(stop.code, file=sys.stderr)
    return 1
