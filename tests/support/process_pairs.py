"""Two processes of one job, started from a test."""

import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(module: str, *arguments: object, timeout_s: float) -> list[int]:
    """Exit codes of `python -m MODULE ARGUMENTS… NUMBER PORT`, for number 0 and 1 at once."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    port = str(free_port())
    children = [
        subprocess.Popen([*command, str(number), port], stdout=subprocess.DEVNULL, cwd=ROOT)
        for number in range(2)
    ]
    try:
        return [child.wait(timeout=timeout_s) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]
