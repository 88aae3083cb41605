"""The fork servers that this process started, as /proc shows them. Linux only."""

from pathlib import Path


def pids() -> set[int]:
    """Process ids of the processes that fork children: in a namespace, not the one started here."""
    started = [
        pid
        for task in Path("/proc/self/task").iterdir()
        for pid in _children(task)
        if b"worker.main()" in _read(pid, "cmdline")
    ]
    return {_first_in_namespace(pid) or pid for pid in started}


def _children(task: Path) -> list[int]:
    return [int(number) for number in (task / "children").read_text().split()]


def _first_in_namespace(pid: int) -> int | None:
    """The child of a server that is the first process of a namespace, if there is one."""
    try:
        children = _children(Path(f"/proc/{pid}/task/{pid}"))
    except OSError:
        return None
    for child in children:
        line = next((x for x in _read(child, "status").splitlines() if x[:6] == b"NSpid:"), b"")
        if len(line.split()) > 2 and line.split()[-1] == b"1":
            return child
    return None


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
