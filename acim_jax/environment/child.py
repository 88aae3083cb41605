"""What happens in a forked child, from the fork to `_exit`.

A child has no channel back but its standard output, its standard error and its wait status. The
first byte on standard output is written before the job's function is called, and tells the server
that confinement stood.
"""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import IO, NoReturn

from acim_jax.environment.sandbox import confinement as confinements
from acim_jax.environment.sandbox.confinement import Confinement

#: Written on standard output once the limits stand; the server strips it.
READY = b"\x01"
#: Exit code of a child that ended in `MemoryError`.
MEMORY_EXIT = 86


def run(
    function: Callable[[], int], stdout: int, stderr: int, confinement: Confinement, server: int
) -> NoReturn:
    """Confines this freshly forked process, and exits with the code that `function` returns.

    stdout, stderr: pipe ends to write to. server: process id of the fork server.
    """
    code, leave = 1, os._exit  # a program may take it away
    try:
        _settle(stdout, stderr, confinement.scratch)
        confinements.confine(confinement, server)
        os.closerange(3, 4096)
        os.write(1, READY)
        code = function() & 0xFF  # what is no number must not reach `leave`
    except MemoryError:
        code = MEMORY_EXIT
    except BaseException:
        traceback.print_exc()
    finally:
        leave(code)


def text_stream(fd: int, mode: str) -> IO[str]:
    """A stream that flushes every line: a killed program loses at most its last, unfinished one."""
    return open(fd, mode, encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _settle(stdout: int, stderr: int, scratch: str) -> None:
    """Fresh text streams on `/dev/null` and the pipes, a process group of its own, the usual signal
    handlers, and the scratch folder as home."""
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
    sys.stdin, sys.stdout = text_stream(0, "r"), text_stream(1, "w")
    sys.stderr = text_stream(2, "w")
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
