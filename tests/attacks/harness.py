"""Runs all attacks and ordinary programs in one executor, and looks whether anything was harmed.

As a script it does that for the user who runs it and prints the report as JSON:
`python -m tests.attacks.harness '["namespaces", "private_files"]'`.
"""

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.sandbox.protection import Layer
from acim_jax.records import ExecutionResult
from tests.attacks import endless, files, forgery, kernel, network, ordinary, processes, resources
from tests.attacks import signals as signal_attacks
from tests.attacks.attack import Attack
from tests.support import fork_servers

ATTACKS: list[Attack] = [
    attack
    for module in (endless, files, forgery, kernel, network, processes, resources, signal_attacks)
    for attack in module.ATTACKS
]

LIMITS = ExecutorConfig(
    workers=3,
    timeout_s=15.0,
    cpu_seconds=0.35,
    memory_mb=256,
    output_chars=2048,
    file_mb=1,
    disk_mb=8,
)

#: Run after each attack, to see what it left behind.
NEXT = """\
import math, os, sympy, sys
print(math.pi, os.listdir('.'), sympy.solve.__name__, sys.get_int_max_str_digits(), bytes(3))
print('.' in sys.path, 'PYTHONSTARTUP' in os.environ)
"""
NEXT_OUTPUT = "3.141592653589793 [] solve 0 b'\\x00\\x00\\x00'\nFalse False\n"


@dataclasses.dataclass(frozen=True)
class Report:
    """attacks, after, programs: (status, stdout, stderr) of each attack, of the program that
    followed it, and of each ordinary program. harm: what was changed, read or reached outside.
    """

    protection: str
    missing: dict[str, str]
    attacks: dict[str, tuple[str, str, str]]
    after: dict[str, tuple[str, str, str]]
    programs: list[tuple[str, str, str]]
    harm: list[str]


class _Bait:
    """What programs must not reach: a file, a process, and four ways of talking."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bait-"))
        self.folder.chmod(0o755)
        self.token = secrets.token_hex(16)
        self.secret = self.folder / "secret"
        self.secret.write_text(self.token)
        self.secret.chmod(0o600)
        self.before = self._look()
        os.environ["BAIT_TOKEN"] = self.token
        waiting = ["sh", "-c", "read line", self.token]
        self.victim = subprocess.Popen(waiting, stdin=subprocess.PIPE)
        self.unix, self.abstract = str(self.folder / "socket"), f"bait-{secrets.token_hex(4)}"
        self.sockets = [
            _listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            _listener(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            _listener(socket.AF_UNIX, socket.SOCK_STREAM, self.unix),
            _listener(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.abstract}"),
        ]

    def fill(self, code: str) -> str:
        places = {
            "@PARENT@": os.getpid(),
            "@VICTIM@": self.victim.pid,
            "@SECRET@": self.secret,
            "@PORT@": self.sockets[0].getsockname()[1],
            "@UDP@": self.sockets[1].getsockname()[1],
            "@UNIX@": self.unix,
            "@ABSTRACT@": self.abstract,
        }
        for name, value in places.items():
            code = code.replace(name, str(value))
        return code

    def harm(self) -> list[str]:
        found: list[str] = []
        if self._look() != self.before:
            found.append("the secret file was changed")
        if self.victim.poll() is not None:
            found.append("another process was ended")
        if Path("/tmp/acim-attack").exists():
            found.append("something was written in /tmp")
        for listener in self.sockets:
            with contextlib.suppress(BlockingIOError):
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(1)
                else:
                    listener.accept()
                found.append(f"somebody talked to {listener}")
        return found

    def close(self) -> None:
        for listener in self.sockets:
            listener.close()
        self.victim.kill()
        self.victim.communicate()
        shutil.rmtree(self.folder)

    def _look(self) -> tuple[Any, ...]:
        stat = self.secret.stat()
        return (self.secret.read_text(), stat.st_mode, stat.st_mtime_ns, stat.st_uid, stat.st_nlink)


def _listener(family: int, kind: int, address: Any) -> socket.socket:
    listener = socket.socket(family, kind)
    listener.bind(address)
    if kind == socket.SOCK_STREAM:
        listener.listen()
    listener.setblocking(False)
    return listener


@contextlib.contextmanager
def _bait() -> Iterator[_Bait]:
    bait = _Bait()
    try:
        yield bait
    finally:
        bait.close()


def run(leave_out: Sequence[Layer]) -> Report:
    """Everything once, each attack followed by a program that looks for traces of it."""
    with _bait() as bait, Executor(LIMITS, leave_out=leave_out) as executor:
        report = executor.capabilities()
        executor.run(["1"] * LIMITS.workers)
        servers = fork_servers.pids()
        pairs = [
            (executor.submit(bait.fill(attack.code), attack.timeout_s), executor.submit(NEXT))
            for attack in ATTACKS
        ]
        attacks = {a.name: first.result() for a, (first, _) in zip(ATTACKS, pairs, strict=True)}
        after = {a.name: then.result() for a, (_, then) in zip(ATTACKS, pairs, strict=True)}
        programs = executor.run([code for code, _ in ordinary.PROGRAMS])
        harm = bait.harm()
        told = [
            r for r in (*attacks.values(), *after.values()) if bait.token in r.stdout + r.stderr
        ]
        harm += [f"a program learned the token: {result}" for result in told]
        if fork_servers.pids() != servers:
            harm.append("a fork server had to be replaced")
    return Report(
        protection=report["protection"],
        missing=report["missing"],
        attacks={name: _plain(result) for name, result in attacks.items()},
        after={name: _plain(result) for name, result in after.items()},
        programs=[_plain(result) for result in programs],
        harm=harm,
    )


def _plain(result: ExecutionResult) -> tuple[str, str, str]:
    return (str(result.status), result.stdout, result.stderr)


if __name__ == "__main__":
    json.dump(dataclasses.asdict(run(json.loads(sys.argv[1]))), sys.stdout)
