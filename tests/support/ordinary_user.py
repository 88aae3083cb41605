"""Running Python as a user without rights, from a test that root runs.

Where the interpreter lies in a folder that only root may enter, it is shown to the other user in a
mount namespace of the child's own. `python -m tests.support.ordinary_user MODULE ARGUMENT ...`
becomes that user and runs the module.
"""

import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from acim_jax.environment.sandbox import kernel

USER = 65534
ROOT = Path(__file__).parents[2]


def run_module(module: str, *arguments: str, timeout_s: float) -> str:
    """Standard output of a module that an ordinary user runs. Raises `CalledProcessError`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.ordinary_user", module, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=timeout_s,
        cwd=ROOT,
    )
    return done.stdout


def _show_interpreter() -> None:
    for needed in (sys.base_prefix, sys.prefix, str(ROOT)):
        closed = [p for p in (*reversed(Path(needed).parents), Path(needed)) if not _open_to_all(p)]
        if closed:
            _show_through(str(closed[0]), needed)


def _open_to_all(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o001)


def _show_through(closed: str, needed: str) -> None:
    """Covers the folder `closed` by one that holds nothing but `needed`."""
    new_mount_namespace, bind_recursive, private_recursive = 0x20000, 0x5000, 0x44000
    kernel.unshare(new_mount_namespace)
    kernel.mount("", "/", "", private_recursive)
    aside = tempfile.mkdtemp()
    kernel.mount(needed, aside, "", bind_recursive)
    kernel.mount("tmpfs", closed, "tmpfs", 0, "mode=0755,size=1m")
    os.makedirs(needed)
    kernel.mount(aside, needed, "", bind_recursive)
    kernel.detach(aside)
    os.rmdir(aside)


def main() -> None:
    _show_interpreter()
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # as if this user had started it
    os.environ["HOME"] = "/"
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
